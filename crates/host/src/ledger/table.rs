//! The ledger as people read it.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use std::fmt::Write;

use super::rows::{Row, Side};
use super::{CountSource, Ledger};
use crate::quantity::{binary_bytes, grouped};

const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

const WIDTH_COLUMNS: u16 = 132;

impl Ledger {
    /// The whole ledger as text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.heading();
        let _ = writeln!(text, "\n{}", self.table());
        for note in self.notes() {
            let _ = writeln!(text, "{note}");
        }
        let _ = writeln!(text, "\n{}", self.quoted);
        text
    }

    fn heading(&self) -> String {
        let kernel = self.kernel.as_deref().unwrap_or("unknown");
        let mut text = format!("Linux {kernel}; object sizes: {}\n", self.sizes.source);
        let _ = write!(
            text,
            "{} TCP sockets on this host",
            grouped(self.sockets.tcp_allocated)
        );
        for server in &self.servers {
            let plural = if server.workers == 1 { "" } else { "s" };
            let _ = write!(
                text,
                "; server {} holds {} connections on {} worker{plural}",
                server.pid,
                grouped(server.connections),
                grouped(server.workers)
            );
        }
        if self.servers.is_empty() {
            text.push_str("; no server runs: only the kernel's rows, for connections under a poll");
        }
        text.push('\n');
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(STYLE);
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(WIDTH_COLUMNS);
        let columns = ["", "objects", "size", "now", "per connection"].map(str::to_owned);
        let projected = self
            .projected_to
            .iter()
            .map(|&n| format!("at {}", in_short(n)));
        table.set_header(columns.into_iter().chain(projected));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in self.rows.iter().chain(std::iter::once(&self.total)) {
            table.add_row(cells(row));
        }
        table
    }

    /// What has to be known to read the table.
    fn notes(&self) -> Vec<String> {
        let merged = self.rows.iter().filter(|row| !row.shared_with.is_empty());
        let mut notes: Vec<String> = merged
            .map(|row| {
                let counted_as = row.counted_as.as_deref().unwrap_or_default();
                format!(
                    "{}: counted as {counted_as}, a merged cache that also serves {}; only what can be attributed is counted",
                    row.what,
                    some_of(&row.shared_with),
                )
            })
            .collect();
        if self.counted_from == CountSource::Sockets {
            notes.push(
                "objects are derived from the numbers of sockets: /proc/slabinfo needs root"
                    .to_owned(),
            );
        }
        if !self.sizes.accounted {
            notes.push(
                "no slab accounting: this kernel has no memory control group beside the root"
                    .to_owned(),
            );
        }
        notes
    }
}

fn cells(row: &Row) -> Vec<String> {
    let count = |n: Option<u64>| n.map(grouped).unwrap_or_default();
    let each = match row.per_connection_bytes {
        0.0 => "-".to_owned(),
        bytes if bytes.fract() == 0.0 || row.side == Side::Total => grouped(bytes.ceil() as u64),
        bytes => format!("{bytes:.1}"),
    };
    let projected = row.projected_bytes.iter().map(|&bytes| binary_bytes(bytes));
    let now = [
        row.what.clone(),
        count(row.objects),
        count(row.object_bytes),
        binary_bytes(row.bytes),
        each,
    ];
    now.into_iter().chain(projected).collect()
}

/// `5M` for 5,000,000.
fn in_short(connections: u64) -> String {
    match connections {
        n if n > 0 && n.is_multiple_of(1_000_000) => format!("{}M", grouped(n / 1_000_000)),
        n if n > 0 && n.is_multiple_of(1_000) => format!("{}k", n / 1_000),
        n => grouped(n),
    }
}

/// Some kernels merge dozens.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
