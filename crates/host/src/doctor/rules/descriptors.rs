//! Open files: of the host, of the process, of the unit, of a login.

use super::service_limits::{LOGIN_DEFAULT, login_nofile, unit_nofile};
use crate::capacity;
use crate::doctor::finding::Finding;
use crate::doctor::rule::{Check, Examination, Group, Rule, Weight};
use crate::doctor::wanted::Wanted;
use crate::quantity::grouped;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "fs.file-max",
        group: Group::Descriptors,
        weight: Weight::Required,
        role: None,
        why: "Open files on the whole host. Each connection is one. Processes with CAP_SYS_ADMIN pass it.",
        without: "accept fails with ENFILE for every process of the host at once.",
        see: "cat /proc/sys/fs/file-nr",
        check: Check::Sysctl(|target| Wanted::AtLeast(target.descriptors())),
    },
    Rule {
        name: "fs.nr_open",
        group: Group::Descriptors,
        weight: Weight::Advised,
        role: None,
        why: "The ceiling of every nofile limit. Raise it before a nofile limit above it: logins and units that \
              ask for more than it are refused.",
        without: "A nofile limit above it is refused, and a login whose limits.d asks for one can fail.",
        see: "sysctl fs.nr_open",
        check: Check::Sysctl(|target| Wanted::AtLeast(target.descriptors())),
    },
    Rule {
        name: "fs.epoll.max_user_watches",
        group: Group::Descriptors,
        weight: Weight::Required,
        role: None,
        why: "Epoll interests of one user; the kernel's default is a twenty-fifth of the memory. Each \
              connection is one on the epoll engine, and on io_uring under --watch epoll.",
        without: "Connections past it are closed as soon as they are accepted (ENOSPC).",
        see: "sysctl fs.epoll.max_user_watches",
        check: Check::Sysctl(|target| Wanted::AtLeast(target.descriptors())),
    },
    Rule {
        name: "nofile, hard",
        group: Group::Descriptors,
        weight: Weight::Required,
        role: None,
        why: "Descriptors that this process may raise itself to. Each worker of Roadstead has a descriptor table \
              of its own, so the limit bounds a worker, not the process.",
        without: "accept fails with EMFILE; servers that do not log it just stop growing, at 65,536 or at 1,024.",
        see: "ulimit -Hn; grep 'open files' /proc/PID/limits",
        check: Check::Inspect(hard_limit),
    },
    Rule {
        name: "nofile, soft",
        group: Group::Descriptors,
        weight: Weight::Advised,
        role: None,
        why: "Descriptors in force at start. Roadstead raises it to the hard limit itself; other programs do not.",
        without: "A client or proxy beside the server stops at 1,024.",
        see: "ulimit -Sn",
        check: Check::Inspect(soft_limit),
    },
    Rule {
        name: "LimitNOFILE of the unit",
        group: Group::Descriptors,
        weight: Weight::Required,
        role: None,
        why: "Under systemd the unit's limit holds, and neither the shell's nor that of limits.d.",
        without: "The service starts with 1,024 soft and 524,288 hard, whatever the shell showed.",
        see: "systemctl show -p LimitNOFILE roadstead",
        check: Check::Inspect(|e| unit_nofile(e.root, e.target)),
    },
    Rule {
        name: "nofile in limits.d",
        group: Group::Descriptors,
        weight: Weight::Advised,
        role: None,
        why: "The limits of logins (pam_limits): for servers and load generators started from a shell.",
        without: LOGIN_DEFAULT,
        see: "grep -rs nofile /etc/security/limits.conf /etc/security/limits.d",
        check: Check::Inspect(|e| login_nofile(e.root, e.target)),
    },
];

fn hard_limit(e: &Examination<'_>) -> Finding {
    let Some(nofile) = e.facts.limits.nofile else {
        return Finding::unknown("/proc/self/limits tells no limit of open files");
    };
    let needed = e.target.descriptors();
    let finding = if nofile.hard.or_max() >= needed {
        Finding::ok(nofile.hard)
    } else {
        low_hard_limit(e, nofile.hard, needed)
    };
    finding.needing(format!("≥ {}", grouped(needed)))
}

/// Below the target it is still enough where more workers make up for it.
fn low_hard_limit(e: &Examination<'_>, hard: crate::Limit, needed: u64) -> Finding {
    let limits = &e.facts.limits;
    // Only the descriptors are asked about here; other limits have rules of their own.
    let descriptors_alone = crate::Limits {
        memory: None,
        file_max: None,
        conntrack_left: None,
        epoll_watches: None,
        capabilities: limits.capabilities,
        ..limits.clone()
    };
    let may_raise = limits.capabilities.sys_resource();
    let raise = format!("ulimit -Hn {needed} (as root), or LimitNOFILE={needed} in the unit");
    match capacity::plan(&e.target.request(e.facts), &descriptors_alone) {
        Ok(plan) => {
            let cannot = if may_raise {
                ""
            } else {
                "; cannot be raised here without CAP_SYS_RESOURCE"
            };
            let how = format!(
                "{} workers with a descriptor table each hold {}{cannot}",
                plan.workers,
                grouped(e.target.connections)
            );
            Finding::tolerable(hard, how).fixed_by(raise)
        }
        Err(short) if may_raise => Finding::raise(hard, short.fix()),
        Err(short) => Finding::stuck(
            hard,
            format!(
                "raising it takes CAP_SYS_RESOURCE, and even {} workers hold {} at most",
                capacity::WORKERS_MAX,
                grouped(short.can_hold)
            ),
        )
        .fixed_by(raise),
    }
}

fn soft_limit(e: &Examination<'_>) -> Finding {
    let Some(nofile) = e.facts.limits.nofile else {
        return Finding::unknown("/proc/self/limits tells no limit of open files");
    };
    if nofile.soft == nofile.hard || nofile.soft.or_max() >= e.target.descriptors() {
        return Finding::ok(nofile.soft);
    }
    Finding::tolerable(
        nofile.soft,
        "roadstead raises it to the hard limit at start",
    )
    .needing(format!("the hard limit, {}", nofile.hard))
    .fixed_by("ulimit -Sn \"$(ulimit -Hn)\"")
}

#[cfg(test)]
mod tests {
    use crate::doctor::finding::Verdict;
    use crate::doctor::rules::tests::{Bench, LIMITS, STATUS};

    fn limits(soft: &str, hard: &str) -> String {
        format!("Max open files            {soft}   {hard}   files\n")
    }

    #[test]
    fn a_low_hard_limit_is_tolerable_where_workers_make_up_for_it() {
        let bench = Bench::with(&[
            (LIMITS, &limits("1024", "20000")),
            (STATUS, "Cpus_allowed_list: 0-1\n"),
        ]);
        let finding = bench.examine("nofile, hard");
        let Verdict::Tolerable(how) = &finding.verdict else {
            panic!("{finding:?}")
        };
        assert!(
            how.contains("workers") && how.contains("CAP_SYS_RESOURCE"),
            "{how}"
        );
    }

    #[test]
    fn a_hopeless_hard_limit_is_stuck_or_raised_by_capability() {
        let bench = Bench::with(&[(LIMITS, &limits("256", "256"))]);
        assert!(matches!(
            bench.examine("nofile, hard").verdict,
            Verdict::Stuck(_)
        ));
        let bench = Bench::with(&[
            (LIMITS, &limits("256", "256")),
            (STATUS, "CapEff: ffffffffffffffff\n"),
        ]);
        assert_eq!(bench.examine("nofile, hard").verdict, Verdict::Raise);
    }

    #[test]
    fn enough_is_enough() {
        for hard in ["6000000", "unlimited"] {
            let bench = Bench::with(&[(LIMITS, &limits("6000000", hard))]);
            assert_eq!(bench.examine("nofile, hard").verdict, Verdict::Ok);
            assert_eq!(bench.examine("nofile, soft").verdict, Verdict::Ok);
        }
    }

    #[test]
    fn a_low_soft_limit_is_the_servers_own_business() {
        let bench = Bench::with(&[(LIMITS, &limits("1024", "6000000"))]);
        assert!(matches!(
            bench.examine("nofile, soft").verdict,
            Verdict::Tolerable(_)
        ));
    }

    #[test]
    fn a_host_that_does_not_tell_leaves_it_unknown() {
        for text in ["", "Max open files many more files\n"] {
            let bench = Bench::with(&[(LIMITS, text)]);
            for rule in ["nofile, hard", "nofile, soft"] {
                assert!(
                    matches!(bench.examine(rule).verdict, Verdict::Unknown(_)),
                    "{rule}"
                );
            }
        }
        for rule in ["nofile, hard", "nofile, soft"] {
            assert!(
                matches!(Bench::with(&[]).examine(rule).verdict, Verdict::Unknown(_)),
                "{rule}"
            );
            assert!(
                matches!(
                    Bench::denied(LIMITS).examine(rule).verdict,
                    Verdict::Unknown(_)
                ),
                "{rule}"
            );
        }
    }
}
