//! Tables for people.

use comfy_table::{
    CellAlignment, Table,
    presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED},
};

/// A table whose first column is text and whose others are numbers.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The same for documents.
pub(crate) fn markdown(header: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.add_rows(rows);
    let text = table.to_string();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // Markdown aligns by a colon, which the table's style does not know of; the first column stays as it is.
    if let Some(rule) = lines.get_mut(1) {
        let first = rule[1..].find('|').map_or(0, |at| at + 2);
        rule.replace_range(first.., &rule[first..].replace("-|", ":|"));
    }
    lines.join("\n")
}
