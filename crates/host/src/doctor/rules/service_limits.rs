//! nofile as others set it for the server: the systemd unit, and pam_limits for logins.

use crate::doctor::finding::Finding;
use crate::doctor::target::Target;
use crate::quantity::grouped;
use crate::{HostRoot, ReadError};

pub(super) const LOGIN_DEFAULT: &str =
    "A login starts with 1,024, and what is started from it stops there.";

/// Where systemd looks for the unit: the first that exists is the one.
const UNIT_DIRS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
const UNIT: &str = "roadstead.service";

/// systemd's own default for the hard limit.
const UNIT_DEFAULT: u64 = 524_288;

/// The hard LimitNOFILE of the installed unit, its drop-ins included.
pub(super) fn unit_nofile(root: &HostRoot, target: &Target) -> Finding {
    let unit = UNIT_DIRS
        .iter()
        .map(|dir| root.read(&format!("{dir}/{UNIT}")))
        .find(|read| {
            // A unit that is there and unreadable is still the one in force.
            !matches!(read, Err(ReadError::Missing { .. }))
        });
    let text = match unit {
        None => return Finding::absent("no roadstead.service is installed"),
        Some(Err(error)) => return Finding::unknown(error),
        Some(Ok(text)) => text,
    };
    let mut limit = nofile_directive(&text);
    for drop_in in drop_ins(root) {
        match drop_in {
            Ok(text) => limit = nofile_directive(&text).or(limit),
            Err(error) => return Finding::unknown(error),
        }
    }
    let needed = target.descriptors();
    let fix = format!("systemctl edit roadstead: [Service] LimitNOFILE={needed}");
    let finding = match limit.as_deref().map(directive_value) {
        None => Finding::raise(format!("not set ({})", grouped(UNIT_DEFAULT)), fix),
        Some(None) => Finding::unknown(format!(
            "LimitNOFILE={} is not understood",
            limit.unwrap_or_default()
        )),
        Some(Some(value)) if value < needed => Finding::raise(grouped(value), fix),
        Some(Some(u64::MAX)) => Finding::ok("infinity"),
        Some(Some(value)) => Finding::ok(grouped(value)),
    };
    finding.needing(format!("≥ {}", grouped(needed)))
}

/// The texts of the unit's drop-ins, in the order in which systemd applies them.
fn drop_ins(root: &HostRoot) -> Vec<Result<String, ReadError>> {
    let mut files: Vec<(String, String)> = Vec::new();
    for dir in UNIT_DIRS.iter().rev().map(|dir| format!("{dir}/{UNIT}.d")) {
        for name in root.entries(&dir).unwrap_or_default() {
            files.retain(|(_, seen)| *seen != name); // the same name in a higher directory hides it
            files.push((dir.clone(), name));
        }
    }
    files.sort_by(|a, b| a.1.cmp(&b.1));
    files
        .iter()
        .filter(|(_, name)| name.ends_with(".conf"))
        .map(|(dir, name)| root.read(&format!("{dir}/{name}")))
        .collect()
}

/// The last LimitNOFILE= of a unit file.
fn nofile_directive(text: &str) -> Option<String> {
    let values = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("LimitNOFILE"));
    values
        .filter_map(|rest| rest.trim_start().strip_prefix('='))
        .next_back()
        .map(|v| v.trim().to_owned())
}

/// `soft:hard`, one number for both, or infinity: the hard one.
fn directive_value(value: &str) -> Option<u64> {
    let hard = value.split_once(':').map_or(value, |(_, hard)| hard).trim();
    if hard == "infinity" {
        Some(u64::MAX)
    } else {
        hard.parse().ok()
    }
}

/// The hard nofile that pam_limits gives to logins of ordinary users.
pub(super) fn login_nofile(root: &HostRoot, target: &Target) -> Finding {
    const MAIN: &str = "/etc/security/limits.conf";
    const DIR: &str = "/etc/security/limits.d";
    let mut files = vec![MAIN.to_owned()];
    let mut names = root.entries(DIR).unwrap_or_default();
    names.sort();
    files.extend(
        names
            .iter()
            .filter(|name| name.ends_with(".conf"))
            .map(|name| format!("{DIR}/{name}")),
    );
    let needed = target.descriptors();
    let mut limit = None;
    for file in &files {
        match root.read(file) {
            Ok(text) => limit = login_directive(&text).or(limit),
            Err(ReadError::Missing { .. }) => {}
            Err(error) => return Finding::unknown(error),
        }
    }
    let fix =
        format!("printf '* - nofile {needed}\\n' > {DIR}/90-roadstead.conf, then log in again");
    let finding = match limit.as_deref().map(login_value) {
        None => Finding::raise("not set", fix),
        Some(None) => Finding::unknown(format!(
            "nofile {} is not understood",
            limit.unwrap_or_default()
        )),
        Some(Some(value)) if value < needed => Finding::raise(grouped(value), fix),
        Some(Some(u64::MAX)) => Finding::ok("unlimited"),
        Some(Some(value)) => Finding::ok(grouped(value)),
    };
    finding.needing(format!("≥ {}", grouped(needed)))
}

/// The last hard nofile for everybody: `* hard nofile N`, or `* - nofile N`.
fn login_directive(text: &str) -> Option<String> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    let entries = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    entries
        .filter_map(|words| match words.as_slice() {
            ["*", "hard" | "-", "nofile", value] => Some((*value).to_owned()),
            _ => None,
        })
        .next_back()
}

fn login_value(value: &str) -> Option<u64> {
    match value {
        "unlimited" | "infinity" | "-1" => Some(u64::MAX),
        _ => value.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use crate::doctor::finding::Verdict;
    use crate::doctor::rules::tests::Bench;

    const UNIT: &str = "/usr/lib/systemd/system/roadstead.service";
    const UNIT_RULE: &str = "LimitNOFILE of the unit";
    const LOGIN: &str = "/etc/security/limits.d/90-roadstead.conf";
    const LOGIN_RULE: &str = "nofile in limits.d";

    #[test]
    fn the_unit_is_read_with_its_drop_ins() {
        let mut files = vec![(UNIT, "[Service]\nLimitNOFILE=1024:65536\n")];
        let finding = Bench::with(&files).examine(UNIT_RULE);
        assert_eq!(
            (finding.current.as_deref(), &finding.verdict),
            (Some("65,536"), &Verdict::Raise)
        );
        files.push((
            "/etc/systemd/system/roadstead.service.d/limits.conf",
            "[Service]\nLimitNOFILE=6000000\n",
        ));
        assert_eq!(Bench::with(&files).examine(UNIT_RULE).verdict, Verdict::Ok);
        files.push((
            "/etc/systemd/system/roadstead.service.d/zz.conf",
            "[Service]\nLimitNOFILE = 9\n",
        ));
        assert_eq!(
            Bench::with(&files).examine(UNIT_RULE).verdict,
            Verdict::Raise
        );
    }

    #[test]
    fn a_unit_that_says_nothing_has_the_default() {
        let finding = Bench::with(&[(UNIT, "[Service]\nExecStart=/bin/true\n")]).examine(UNIT_RULE);
        assert_eq!(finding.verdict, Verdict::Raise);
        assert!(finding.current.unwrap().contains("524,288"));
    }

    #[test]
    fn no_unit_a_garbled_one_and_an_unreadable_one() {
        assert!(matches!(
            Bench::with(&[]).examine(UNIT_RULE).verdict,
            Verdict::Absent(_)
        ));
        let garbled = Bench::with(&[(UNIT, "LimitNOFILE=lots\n")]);
        assert!(matches!(
            garbled.examine(UNIT_RULE).verdict,
            Verdict::Unknown(_)
        ));
        assert!(matches!(
            Bench::denied(UNIT).examine(UNIT_RULE).verdict,
            Verdict::Unknown(_)
        ));
        let infinite = Bench::with(&[(UNIT, "LimitNOFILE=infinity\n")]);
        assert_eq!(infinite.examine(UNIT_RULE).verdict, Verdict::Ok);
    }

    #[test]
    fn the_last_word_of_limits_d_counts() {
        let low = (
            "/etc/security/limits.conf",
            "* hard nofile 65536 # the limit that bit us\nroot - nofile 9\n",
        );
        assert_eq!(
            Bench::with(&[low]).examine(LOGIN_RULE).verdict,
            Verdict::Raise
        );
        let enough = (LOGIN, "* - nofile 6000000\n");
        assert_eq!(
            Bench::with(&[low, enough]).examine(LOGIN_RULE).verdict,
            Verdict::Ok
        );
        assert_eq!(
            Bench::with(&[(LOGIN, "* - nofile unlimited\n")])
                .examine(LOGIN_RULE)
                .verdict,
            Verdict::Ok
        );
    }

    #[test]
    fn no_limits_d_a_garbled_one_and_an_unreadable_one() {
        assert_eq!(Bench::with(&[]).examine(LOGIN_RULE).verdict, Verdict::Raise);
        let garbled = Bench::with(&[(LOGIN, "* hard nofile plenty\n")]);
        assert!(matches!(
            garbled.examine(LOGIN_RULE).verdict,
            Verdict::Unknown(_)
        ));
        assert!(matches!(
            Bench::denied(LOGIN).examine(LOGIN_RULE).verdict,
            Verdict::Unknown(_)
        ));
    }
}
