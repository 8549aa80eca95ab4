//! The kernel interface: release, switches, operations. Without io_uring the server falls back to epoll, so
//! nothing here keeps it from its target.

use crate::KernelRelease;
use crate::doctor::finding::Finding;
use crate::doctor::rule::{Check, Examination, Group, Rule, Weight};
use crate::doctor::uring::UringSupport;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "kernel release",
        group: Group::IoUring,
        weight: Weight::Required,
        role: None,
        why: "Roadstead is made for Linux 6.1 (Debian 12) and later; 6.12 and later serve it best.",
        without: "Operations that the server relies on are missing or unproven.",
        see: "uname -r",
        check: Check::Inspect(release),
    },
    Rule {
        name: "known limits of this kernel",
        group: Group::IoUring,
        weight: Weight::Advised,
        role: None,
        why: "What later kernels do better or right.",
        without: "The server works around it, at the price named.",
        see: "uname -r",
        check: Check::Inspect(known_limits),
    },
    Rule {
        name: "kernel.io_uring_disabled",
        group: Group::IoUring,
        weight: Weight::Advised,
        role: None,
        why: "0 allows io_uring, 1 allows it to CAP_SYS_ADMIN and to members of kernel.io_uring_group, 2 to nobody. \
              The sysctl came with 6.6; before, nothing restricts it.",
        without: "The server falls back to epoll; with --engine uring it refuses to start.",
        see: "sysctl kernel.io_uring_disabled kernel.io_uring_group",
        check: Check::Inspect(switch),
    },
    Rule {
        name: "seccomp",
        group: Group::IoUring,
        weight: Weight::Advised,
        role: None,
        why: "A seccomp filter, as containers and some units have, may refuse io_uring whatever the sysctl says.",
        without: "The server falls back to epoll; with --engine uring it refuses to start.",
        see: "grep Seccomp /proc/self/status",
        check: Check::Inspect(seccomp),
    },
    Rule {
        name: "io_uring operations",
        group: Group::IoUring,
        weight: Weight::Advised,
        role: None,
        why: "The operations that the engine submits, asked of a ring made for the purpose.",
        without: "The server falls back to epoll.",
        see: "roadstead doctor --json",
        check: Check::Inspect(operations),
    },
    Rule {
        name: "io_uring set-up flags",
        group: Group::IoUring,
        weight: Weight::Advised,
        role: None,
        why: "SUBMIT_ALL, SINGLE_ISSUER and DEFER_TASKRUN (6.1): completions come when the worker asks for them, in batches.",
        without: "Completions interrupt the worker, and its CPU time per message rises.",
        see: "roadstead doctor --json",
        check: Check::Inspect(setup_flags),
    },
];

/// What kernels before a release do not do, or do wrong.
const KNOWN_LIMITS: &[(u32, u32, &str)] = &[
    (6, 10, "no bundles: one receive takes one buffer (6.10)"),
    (
        6,
        12,
        "no incremental buffer consumption: a small message takes a whole buffer (6.12)",
    ),
    (
        6,
        13,
        "direct descriptors closed later are not freed while an older request is pending (6.13)",
    ),
    (6, 15, "no epoll wait through the ring (6.15)"),
];

/// Single releases with a fault of their own.
const KNOWN_FAULTS: &[(u32, u32, u32, &str)] = &[(
    6,
    1,
    7,
    "multishot receives run out of provided buffers that are there (6.1.7 alone)",
)];

fn with_release(e: &Examination<'_>, judge: impl Fn(&KernelRelease) -> Finding) -> Finding {
    match &e.facts.limits.kernel {
        Some(kernel) => judge(kernel),
        None => match KernelRelease::read(e.root) {
            Ok(kernel) => judge(&kernel),
            Err(error) => Finding::unknown(error),
        },
    }
}

fn release(e: &Examination<'_>) -> Finding {
    with_release(e, |kernel| {
        if kernel.at_least(6, 1) {
            Finding::ok(kernel)
        } else {
            Finding::stuck(kernel, "a newer kernel needs a reboot")
                .fixed_by("install a kernel of 6.1 or later (Debian: linux-image-amd64) and reboot")
        }
    })
    .needing("≥ 6.1")
}

fn known_limits(e: &Examination<'_>) -> Finding {
    with_release(e, |kernel| {
        let of_older = KNOWN_LIMITS
            .iter()
            .filter(|(x, y, _)| !kernel.at_least(*x, *y))
            .map(|(.., what)| *what);
        let of_this = KNOWN_FAULTS
            .iter()
            .filter(|(x, y, z, _)| (*x, *y, *z) == (kernel.major, kernel.minor, kernel.patch))
            .map(|(.., what)| *what);
        let limits: Vec<&str> = of_this.chain(of_older).collect();
        match limits.as_slice() {
            [] => Finding::ok("none known"),
            _ => Finding::tolerable(format!("{} known", limits.len()), limits.join("; ")),
        }
    })
}

fn switch(e: &Examination<'_>) -> Finding {
    match e.root.sysctl::<u64>("kernel.io_uring_disabled") {
        Ok(0) => Finding::ok(0),
        Ok(1) => {
            let group = e.root.sysctl::<i64>("kernel.io_uring_group").unwrap_or(-1);
            let who = if group < 0 { "CAP_SYS_ADMIN only".to_owned() } else { format!("group {group}") };
            Finding::raise(
                format!("1 ({who})"),
                "sysctl -w kernel.io_uring_disabled=0, or put the server's user into kernel.io_uring_group",
            )
        }
        Ok(2) => Finding::raise("2 (nobody)", "sysctl -w kernel.io_uring_disabled=0"),
        Ok(other) => Finding::unknown(format!("kernel.io_uring_disabled is {other}")),
        Err(error) => Finding::unreadable(&error),
    }
    .needing("0")
}

fn seccomp(e: &Examination<'_>) -> Finding {
    const PATH: &str = "/proc/self/status";
    let status = match e.root.read(PATH) {
        Ok(status) => status,
        Err(error) => return Finding::unknown(error),
    };
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"))
        .map(str::trim);
    match (mode, &e.facts.uring) {
        (Some("0"), _) => Finding::ok("no filter"),
        (Some("1" | "2"), UringSupport::Available { .. }) => {
            Finding::ok("a filter that allows io_uring")
        }
        (Some("1" | "2"), UringSupport::Refused { because }) => Finding::stuck(
            "a filter",
            format!("io_uring is {because}"),
        )
        .fixed_by(
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's profile",
        ),
        (Some("1" | "2"), UringSupport::NotProbed) => Finding::tolerable("a filter", "not probed"),
        _ => Finding::unknown(format!("{PATH} has no seccomp mode that is known")),
    }
}

fn operations(e: &Examination<'_>) -> Finding {
    match &e.facts.uring {
        UringSupport::Available {
            missing, lacking, ..
        } if missing.is_empty() => match lacking.as_slice() {
            [] => Finding::ok("all"),
            _ => Finding::tolerable(
                "all required",
                format!("done without: {}", lacking.join(", ")),
            ),
        },
        UringSupport::Available { missing, .. } => {
            Finding::stuck("some", format!("this kernel has no {}", missing.join(", ")))
        }
        UringSupport::Refused { because } => Finding::stuck("none", because.clone())
            .fixed_by("see kernel.io_uring_disabled and seccomp"),
        UringSupport::NotProbed => Finding::unknown("a directory tree has no kernel to ask"),
    }
}

fn setup_flags(e: &Examination<'_>) -> Finding {
    match &e.facts.uring {
        UringSupport::Available {
            deferred_completions: true,
            ..
        } => Finding::ok("all"),
        UringSupport::Available { .. } => Finding::stuck("refused", "they came with 6.1"),
        UringSupport::Refused { because } => Finding::stuck("none", because.clone())
            .fixed_by("see kernel.io_uring_disabled and seccomp"),
        UringSupport::NotProbed => Finding::unknown("a directory tree has no kernel to ask"),
    }
}

#[cfg(test)]
mod tests {
    use crate::doctor::finding::Verdict;
    use crate::doctor::rules::tests::{Bench, STATUS};
    use crate::doctor::uring::UringSupport;

    const RELEASE: &str = "/proc/sys/kernel/osrelease";
    const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";

    fn available(missing: &[&'static str], deferred_completions: bool) -> UringSupport {
        UringSupport::Available {
            missing: missing.to_vec(),
            lacking: vec![],
            deferred_completions,
        }
    }

    fn refused() -> UringSupport {
        UringSupport::Refused {
            because: "refused (EPERM)".into(),
        }
    }

    fn probing(uring: UringSupport, files: &[(&str, &str)]) -> Bench {
        let mut bench = Bench::with(files);
        bench.facts.uring = uring;
        bench
    }

    #[test]
    fn releases() {
        let verdict = |release, rule| Bench::with(&[(RELEASE, release)]).examine(rule).verdict;
        assert_eq!(verdict("6.18.44", "kernel release"), Verdict::Ok);
        assert_eq!(
            verdict("6.18.44", "known limits of this kernel"),
            Verdict::Ok
        );
        assert!(matches!(
            verdict("5.15.0", "kernel release"),
            Verdict::Stuck(_)
        ));
        let limits = verdict("6.1.0", "known limits of this kernel");
        assert!(
            matches!(&limits, Verdict::Tolerable(why) if why.contains("6.13")),
            "{limits:?}"
        );
        for rule in ["kernel release", "known limits of this kernel"] {
            assert!(
                matches!(verdict("six", rule), Verdict::Unknown(_)),
                "{rule}"
            );
            assert!(
                matches!(Bench::with(&[]).examine(rule).verdict, Verdict::Unknown(_)),
                "{rule}"
            );
            assert!(
                matches!(
                    Bench::denied(RELEASE).examine(rule).verdict,
                    Verdict::Unknown(_)
                ),
                "{rule}"
            );
        }
    }

    #[test]
    fn the_switch_and_its_group() {
        let rule = "kernel.io_uring_disabled";
        let examine = |files: &[(&str, &str)]| Bench::with(files).examine(rule);
        assert_eq!(examine(&[(DISABLED, "0\n")]).verdict, Verdict::Ok);
        assert_eq!(examine(&[(DISABLED, "2\n")]).verdict, Verdict::Raise);
        let group = examine(&[
            (DISABLED, "1\n"),
            ("/proc/sys/kernel/io_uring_group", "77\n"),
        ]);
        assert!(group.verdict == Verdict::Raise && group.current.unwrap().contains("77"));
        assert!(matches!(examine(&[]).verdict, Verdict::Absent(_)));
        for text in ["3", "off", ""] {
            assert!(
                matches!(examine(&[(DISABLED, text)]).verdict, Verdict::Unknown(_)),
                "{text:?}"
            );
        }
        assert!(matches!(
            Bench::denied(DISABLED).examine(rule).verdict,
            Verdict::Unknown(_)
        ));
    }

    #[test]
    fn seccomp_filters_count_by_what_they_refuse() {
        let filter: &[(&str, &str)] = &[(STATUS, "Seccomp:\t2\n")];
        assert_eq!(
            Bench::with(&[(STATUS, "Seccomp:\t0\n")])
                .examine("seccomp")
                .verdict,
            Verdict::Ok
        );
        assert_eq!(
            probing(available(&[], true), filter)
                .examine("seccomp")
                .verdict,
            Verdict::Ok
        );
        assert!(matches!(
            probing(refused(), filter).examine("seccomp").verdict,
            Verdict::Stuck(_)
        ));
        for bench in [
            Bench::with(&[]),
            Bench::with(&[(STATUS, "Seccomp: x")]),
            Bench::denied(STATUS),
        ] {
            assert!(matches!(
                bench.examine("seccomp").verdict,
                Verdict::Unknown(_)
            ));
        }
    }

    #[test]
    fn operations_and_flags_as_probed() {
        let (ops, flags) = ("io_uring operations", "io_uring set-up flags");
        assert_eq!(
            probing(available(&[], true), &[]).examine(ops).verdict,
            Verdict::Ok
        );
        assert_eq!(
            probing(available(&[], true), &[]).examine(flags).verdict,
            Verdict::Ok
        );
        let short = probing(available(&["ACCEPT"], false), &[]);
        assert!(
            matches!(short.examine(ops).verdict, Verdict::Stuck(why) if why.contains("ACCEPT"))
        );
        assert!(matches!(short.examine(flags).verdict, Verdict::Stuck(_)));
        for rule in [ops, flags] {
            assert!(
                matches!(
                    probing(refused(), &[]).examine(rule).verdict,
                    Verdict::Stuck(_)
                ),
                "{rule}"
            );
            assert!(
                matches!(Bench::with(&[]).examine(rule).verdict, Verdict::Unknown(_)),
                "{rule}"
            );
        }
    }
}
