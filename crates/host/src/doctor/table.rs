//! The report as people read it: a table of every setting, then what to do about those that fall short.

use std::fmt::Write;

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};

use super::finding::Verdict;
use super::report::{Examined, Report};
use super::rule::Weight;
use crate::quantity::grouped;

/// A line under the heading and no other: forty settings are a long table as it is.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Wide enough for the values of `tcp_mem`, narrow enough for most terminals.
const WIDTH_COLUMNS: u16 = 118;

impl Report {
    /// The whole report as text, the conclusion last.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} connections, as a {:?}, port {}\n\n{}\n",
            grouped(self.target.connections),
            self.target.role,
            self.target.port,
            self.table()
        )
        .replace("Server", "server")
        .replace("Client", "client");
        let short: Vec<&Examined> = self
            .findings
            .iter()
            .filter(|e| e.finding.verdict.is_short())
            .collect();
        section(&mut text, "To set right", &short);
        let other = |e: &&Examined| {
            matches!(
                e.finding.verdict,
                Verdict::Tolerable(_) | Verdict::Unknown(_)
            )
        };
        let noted: Vec<&Examined> = self.findings.iter().filter(other).collect();
        section(&mut text, "Worth knowing", &noted);
        let _ = writeln!(text, "\n{}", self.conclusion());
        text
    }

    /// Only what falls short: what `serve` says at start. Empty where nothing does.
    #[must_use]
    pub fn shortcomings(&self) -> Vec<String> {
        let short = self
            .findings
            .iter()
            .filter(|e| e.finding.verdict.is_short());
        short
            .map(|e| format!("{} is {}: {}", e.setting, current(e), advice(e)))
            .collect()
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(STYLE);
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(WIDTH_COLUMNS);
        table.set_header(["setting", "now", "needed", "verdict"]);
        for examined in &self.findings {
            let advised = if examined.weight == Weight::Advised {
                " (advised)"
            } else {
                ""
            };
            table.add_row([
                format!("{}{advised}", examined.setting),
                current(examined),
                examined.finding.needed.clone().unwrap_or_default(),
                word(examined).to_owned(),
            ]);
        }
        table
    }
}

fn current(examined: &Examined) -> String {
    examined
        .finding
        .current
        .clone()
        .unwrap_or_else(|| "-".to_owned())
}

/// A value that is too high is not to be raised.
fn word(examined: &Examined) -> &'static str {
    let too_high = examined
        .finding
        .needed
        .as_deref()
        .is_some_and(|needed| needed.starts_with('≤'));
    match examined.finding.verdict {
        Verdict::Raise if too_high => "lower",
        ref verdict => verdict.word(),
    }
}

/// What goes wrong and what to do, in one line.
fn advice(examined: &Examined) -> String {
    let reason = examined
        .finding
        .verdict
        .reason()
        .map(|why| format!(" ({why})"))
        .unwrap_or_default();
    let fix = examined
        .finding
        .fix
        .as_deref()
        .unwrap_or("nothing to be done from here");
    format!("{}{reason} Fix: {fix}", examined.without)
}

fn section(text: &mut String, title: &str, findings: &[&Examined]) {
    if findings.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}:");
    for examined in findings {
        let verdict = &examined.finding.verdict;
        let _ = writeln!(text, "\n  {} is {}", examined.setting, current(examined));
        if let Some(reason) = verdict.reason() {
            let _ = writeln!(text, "    {}: {reason}", verdict.word());
        }
        if verdict.is_short() {
            let _ = writeln!(text, "    without: {}", examined.without);
        }
        if let Some(fix) = &examined.finding.fix {
            let _ = writeln!(text, "    fix: {fix}");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::doctor::{Facts, Target, examine};
    use crate::testing::Tree;

    fn report(files: &[(&str, &str)]) -> crate::doctor::Report {
        let root = Tree::with(files);
        let target = Target::default();
        examine(&root.root(), &Facts::gather(&root.root(), &target), &target)
    }

    const LOW: &[(&str, &str)] = &[
        ("/proc/sys/net/core/somaxconn", "128\n"),
        ("/proc/sys/kernel/osrelease", "6.12.9\n"),
        ("/proc/self/limits", "Max open files 1024 20000 files\n"),
        ("/proc/self/status", "Cpus_allowed_list:\t0-1\n"),
        (
            "/proc/meminfo",
            "MemTotal: 24000000 kB\nMemAvailable: 23000000 kB\n",
        ),
    ];

    #[test]
    fn the_table_shows_every_setting_and_the_fixes() {
        let text = report(LOW).text();
        for rule in crate::doctor::rules().filter(|rule| rule.role.is_none()) {
            let first_word = rule.name.split(' ').next().unwrap();
            assert!(text.contains(first_word), "{}", rule.name);
        }
        assert!(
            text.contains("fix: sysctl -w net.core.somaxconn='4096'"),
            "{text}"
        );
        assert!(
            text.lines()
                .last()
                .unwrap()
                .starts_with("This host can hold "),
            "{text}"
        );
    }

    #[test]
    fn a_low_required_setting_fails_the_host() {
        let low = report(LOW);
        assert!(
            !low.holds_target && low.conclusion().contains("net.core.somaxconn"),
            "{}",
            low.conclusion()
        );
        assert!(
            low.shortcomings()
                .iter()
                .any(|line| line.contains("net.core.somaxconn is 128"))
        );
        let mut enough = LOW.to_vec();
        enough[0].1 = "4096\n";
        let enough = report(&enough);
        assert!(enough.holds_target, "{}", enough.text());
        assert!(
            enough.conclusion().contains("workers"),
            "{}",
            enough.conclusion()
        );
    }

    #[test]
    fn the_report_is_json_too() {
        let json = serde_json::to_value(report(LOW)).unwrap();
        assert_eq!(json["holds_target"], false);
        let findings = json["findings"].as_array().unwrap();
        let found = findings
            .iter()
            .find(|f| f["setting"] == "net.core.somaxconn")
            .unwrap();
        assert_eq!(
            (&found["current"], &found["verdict"]["is"]),
            (&"128".into(), &"raise".into())
        );
        assert!(json["ceiling"]["connections"].as_u64().unwrap() > 5_000_000);
    }
}
