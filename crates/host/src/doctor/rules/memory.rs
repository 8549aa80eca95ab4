//! Memory of the host and of the process, and the kernel's tables.

use crate::doctor::finding::Finding;
use crate::doctor::rule::{Check, Examination, Group, Rule, Weight};
use crate::doctor::wanted::Wanted;
use crate::quantity::{binary_bytes, grouped};
use crate::{MemoryBound, ReadError, capacity};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "memory for the target",
        group: Group::Memory,
        weight: Weight::Required,
        role: None,
        why: "An idle connection costs about 3.9 KiB: 3,640 B of socket, inode and file, 256 B of poll request, \
              47 B of slab accounting, 49 B of record and descriptor (Linux 6.18; `roadstead ledger` adds it up for \
              this kernel). A sixteenth of the memory is kept free beside it. A control group's limit counts \
              like the host's: kernel memory of sockets is charged to the group.",
        without: "The OOM killer takes the server, with all its connections, some time before the target.",
        see: "free -m; cat /sys/fs/cgroup/…/memory.max; slabtop -o -s c",
        check: Check::Inspect(memory_for_target),
    },
    Rule {
        name: "memory pressure",
        group: Group::Memory,
        weight: Weight::Advised,
        role: None,
        why: "PSI: the share of the last ten seconds in which something waited for memory.",
        without: "The host is already short: connections will come on top.",
        see: "cat /proc/pressure/memory",
        check: Check::Inspect(memory_pressure),
    },
    Rule {
        name: "pids of the control group",
        group: Group::Memory,
        weight: Weight::Required,
        role: None,
        why: "Threads that the control group allows: a worker is one, and where the nofile limit is low there are \
              hundreds of them.",
        without: "The server fails at start: a thread cannot be made (EAGAIN).",
        see: "cat /sys/fs/cgroup/…/pids.max; systemctl show -p TasksMax roadstead",
        check: Check::Inspect(pids),
    },
    Rule {
        name: "memlock",
        group: Group::Memory,
        weight: Weight::Advised,
        role: None,
        why: "Bytes that the process may lock. Kernels before 5.12 count rings against it; later ones only buffers \
              that are registered as such.",
        without: "Making a ring, or registering buffers, fails with ENOMEM.",
        see: "ulimit -l",
        check: Check::Inspect(memlock),
    },
    Rule {
        name: "vm.max_map_count",
        group: Group::Memory,
        weight: Weight::Advised,
        role: None,
        why: "Memory mappings of a process: each worker has some for its ring, its buffers and its stack.",
        without: "mmap fails with ENOMEM while memory is free.",
        see: "wc -l /proc/PID/maps",
        check: Check::Sysctl(|_| Wanted::AtLeast(65_530)),
    },
    Rule {
        name: "vm.overcommit_memory",
        group: Group::Memory,
        weight: Weight::Advised,
        role: None,
        why: "With 2 the kernel refuses mappings past a fixed sum, touched or not. Tables for millions of connections \
              are mapped at start and touched as they fill.",
        without: "The server's tables are refused at start although they would fit.",
        see: "sysctl vm.overcommit_memory; grep Commit /proc/meminfo",
        check: Check::Inspect(overcommit),
    },
    Rule {
        name: "TCP hash",
        group: Group::Memory,
        weight: Weight::Advised,
        role: None,
        why: "Buckets of the table in which the kernel finds a packet's socket (net.ipv4.tcp_ehash_entries). It is \
              made at boot (thash_entries=) or with a network namespace (net.ipv4.tcp_child_ehash_entries, 6.1).",
        without: "Every packet walks a long chain: at 5,000,000 sockets in 262,144 buckets 19 cache misses on average.",
        see: "sysctl net.ipv4.tcp_ehash_entries; dmesg | grep 'TCP established hash'",
        check: Check::Inspect(tcp_hash),
    },
];

fn memory_for_target(e: &Examination<'_>) -> Finding {
    let Some(memory) = e.facts.limits.memory else {
        return Finding::unknown("/proc/meminfo tells no available memory");
    };
    let needed =
        capacity::memory_needed(&e.target.request(e.facts), &e.facts.limits).unwrap_or(u64::MAX);
    let (from, add) = match memory.bound {
        MemoryBound::Host => ("available", "add or free"),
        MemoryBound::ControlGroup => ("left in the control group", "raise MemoryMax= by"),
    };
    let current = format!("{} {from}", binary_bytes(memory.available_bytes));
    let finding = match needed.checked_sub(memory.available_bytes) {
        None | Some(0) => Finding::ok(current),
        Some(missing) => Finding::stuck(current, format!("{} are missing", binary_bytes(missing)))
            .fixed_by(format!("{add} {}, or aim lower", binary_bytes(missing))),
    };
    finding.needing(binary_bytes(needed))
}

fn memory_pressure(e: &Examination<'_>) -> Finding {
    const PATH: &str = "/proc/pressure/memory";
    let text = match e.root.read(PATH) {
        Ok(text) => text,
        Err(error) => return Finding::unreadable(&error),
    };
    let some = text.lines().find_map(|line| line.strip_prefix("some "));
    let average = some.and_then(|line| {
        line.split_whitespace()
            .find_map(|word| word.strip_prefix("avg10="))
    });
    match average.and_then(|word| word.parse::<f64>().ok()) {
        Some(percent) if percent < 1.0 => Finding::ok(format!("{percent:.2} %")),
        Some(percent) => {
            Finding::tolerable(format!("{percent:.2} %"), "something waits for memory now")
        }
        None => Finding::unknown(format!("{PATH} is not understood")),
    }
    .needing("< 1 %")
}

fn pids(e: &Examination<'_>) -> Finding {
    let Some((path, limit)) = pids_limit(e) else {
        return Finding::absent("no control group limits threads");
    };
    let needed = match capacity::plan(&e.target.request(e.facts), &e.facts.limits) {
        Ok(plan) => u64::from(plan.workers) + 64,
        Err(_) => u64::from(e.facts.limits.cores) + 64,
    };
    let finding = match limit {
        Ok(value) if value >= needed => Finding::ok(grouped(value)),
        Ok(value) => Finding::raise(
            grouped(value),
            format!("systemctl edit roadstead: [Service] TasksMax={needed}"),
        ),
        Err(error) => Finding::unknown(format!("{path}: {error}")),
    };
    finding.needing(format!("≥ {}", grouped(needed)))
}

/// The limit of the process's own group, in either version of the hierarchy; "max" is none.
fn pids_limit(e: &Examination<'_>) -> Option<(String, Result<u64, ReadError>)> {
    let membership = e.root.read("/proc/self/cgroup").ok()?;
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let group = group.trim_end_matches('/');
        let path = if controllers.is_empty() {
            format!("/sys/fs/cgroup{group}/pids.max")
        } else if controllers == "pids" {
            format!("/sys/fs/cgroup/pids{group}/pids.max")
        } else {
            continue;
        };
        match e.root.read(&path) {
            Err(ReadError::Missing { .. }) => {}
            Ok(text) if text.trim() == "max" => {}
            _ => return Some((path.clone(), e.root.value(&path))),
        }
    }
    None
}

fn memlock(e: &Examination<'_>) -> Finding {
    const ENOUGH_BYTES: u64 = 8 << 20;
    let Some(memlock) = e.facts.limits.memlock_bytes else {
        return Finding::unknown("/proc/self/limits tells no limit of locked memory");
    };
    let current = match memlock.soft {
        crate::Limit::Unlimited => "unlimited".to_owned(),
        crate::Limit::Value(bytes) => binary_bytes(bytes),
    };
    let finding = if memlock.soft.or_max() >= ENOUGH_BYTES {
        Finding::ok(current)
    } else {
        Finding::tolerable(current, "rings do not count against it since 5.12")
            .fixed_by("LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited")
    };
    finding.needing(format!("≥ {}", binary_bytes(ENOUGH_BYTES)))
}

fn overcommit(e: &Examination<'_>) -> Finding {
    match e.root.sysctl::<u64>("vm.overcommit_memory") {
        Ok(mode @ (0 | 1)) => Finding::ok(mode),
        Ok(2) => Finding::raise(2, "sysctl -w vm.overcommit_memory=0"),
        Ok(mode) => Finding::unknown(format!("vm.overcommit_memory is {mode}")),
        Err(error) => Finding::unreadable(&error),
    }
    .needing("0 or 1")
}

fn tcp_hash(e: &Examination<'_>) -> Finding {
    let needed = e.target.hash_buckets();
    // Negative in a network namespace that shares the host's table.
    let buckets = match e.root.sysctl::<i64>("net.ipv4.tcp_ehash_entries") {
        Ok(entries) => entries.unsigned_abs(),
        Err(error) => return Finding::unreadable(&error).needing(format!("≥ {}", grouped(needed))),
    };
    let current = grouped(buckets);
    let finding = if buckets >= needed {
        Finding::ok(current)
    } else {
        let chain = e.target.connections / buckets.max(1);
        Finding::tolerable(current, format!("chains of {chain} at the target: slower, not less; set at boot only"))
            .fixed_by(format!(
                "boot with thash_entries={needed}, or sysctl -w net.ipv4.tcp_child_ehash_entries={needed} and \
                 run in a new network namespace"
            ))
    };
    finding.needing(format!("≥ {}", grouped(needed)))
}

#[cfg(test)]
mod tests {
    use crate::doctor::finding::Verdict;
    use crate::doctor::rules::tests::{Bench, LIMITS};

    const MEMINFO: &str = "/proc/meminfo";
    const PSI: &str = "/proc/pressure/memory";
    const CGROUP: &str = "/proc/self/cgroup";
    const PIDS: &str = "/sys/fs/cgroup/box/pids.max";
    const OVERCOMMIT: &str = "/proc/sys/vm/overcommit_memory";
    const HASH: &str = "/proc/sys/net/ipv4/tcp_ehash_entries";

    #[track_caller]
    fn unknown(bench: &Bench, rule: &str) {
        let finding = bench.examine(rule);
        assert!(
            matches!(finding.verdict, Verdict::Unknown(_)),
            "{rule}: {finding:?}"
        );
    }

    #[test]
    fn memory_for_five_million() {
        let rule = "memory for the target";
        let enough = "MemTotal: 24000000 kB\nMemAvailable: 23000000 kB\n";
        assert_eq!(
            Bench::with(&[(MEMINFO, enough)]).examine(rule).verdict,
            Verdict::Ok
        );
        let short = "MemTotal: 8000000 kB\nMemAvailable: 7000000 kB\n";
        let finding = Bench::with(&[(MEMINFO, short)]).examine(rule);
        assert!(
            matches!(finding.verdict, Verdict::Stuck(_)) && finding.fix.unwrap().contains("GiB")
        );
        unknown(&Bench::with(&[]), rule);
        unknown(&Bench::with(&[(MEMINFO, "MemTotal: lots\n")]), rule);
        unknown(&Bench::denied(MEMINFO), rule);
    }

    #[test]
    fn pressure() {
        let rule = "memory pressure";
        let psi =
            |avg| format!("some avg10={avg} avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00\n");
        assert_eq!(
            Bench::with(&[(PSI, &psi("0.00"))]).examine(rule).verdict,
            Verdict::Ok
        );
        let finding = Bench::with(&[(PSI, &psi("31.50"))]).examine(rule);
        assert!(matches!(finding.verdict, Verdict::Tolerable(_)));
        assert!(matches!(
            Bench::with(&[]).examine(rule).verdict,
            Verdict::Absent(_)
        ));
        unknown(&Bench::with(&[(PSI, "some avg10=much\n")]), rule);
        unknown(&Bench::denied(PSI), rule);
    }

    #[test]
    fn threads_of_the_control_group() {
        let rule = "pids of the control group";
        let host = |limit| Bench::with(&[(CGROUP, "0::/box\n"), (PIDS, limit)]);
        assert_eq!(host("4096").examine(rule).verdict, Verdict::Ok);
        assert_eq!(host("32").examine(rule).verdict, Verdict::Raise);
        assert!(matches!(
            host("max").examine(rule).verdict,
            Verdict::Absent(_)
        ));
        assert!(matches!(
            Bench::with(&[]).examine(rule).verdict,
            Verdict::Absent(_)
        ));
        unknown(&host("lots"), rule);
        let version_one = Bench::with(&[
            (CGROUP, "8:pids:/\n0::/\n"),
            ("/sys/fs/cgroup/pids/pids.max", "16\n"),
        ]);
        assert_eq!(version_one.examine(rule).verdict, Verdict::Raise);
        unknown(&host("32").and_denied(PIDS), rule);
    }

    #[test]
    fn locked_memory() {
        let rule = "memlock";
        let host = |soft: &str| {
            Bench::with(&[(LIMITS, &format!("Max locked memory {soft} {soft} bytes\n"))])
        };
        assert_eq!(host("8388608").examine(rule).verdict, Verdict::Ok);
        assert_eq!(host("unlimited").examine(rule).verdict, Verdict::Ok);
        assert!(matches!(
            host("65536").examine(rule).verdict,
            Verdict::Tolerable(_)
        ));
        unknown(&host("some"), rule);
        unknown(&Bench::with(&[]), rule);
        unknown(&Bench::denied(LIMITS), rule);
    }

    #[test]
    fn overcommit_modes() {
        let rule = "vm.overcommit_memory";
        for mode in ["0", "1"] {
            assert_eq!(
                Bench::with(&[(OVERCOMMIT, mode)]).examine(rule).verdict,
                Verdict::Ok
            );
        }
        assert_eq!(
            Bench::with(&[(OVERCOMMIT, "2")]).examine(rule).verdict,
            Verdict::Raise
        );
        assert!(matches!(
            Bench::with(&[]).examine(rule).verdict,
            Verdict::Absent(_)
        ));
        unknown(&Bench::with(&[(OVERCOMMIT, "3")]), rule);
        unknown(&Bench::with(&[(OVERCOMMIT, "two")]), rule);
        unknown(&Bench::denied(OVERCOMMIT), rule);
    }

    #[test]
    fn the_hash_of_the_host_and_of_a_namespace() {
        let rule = "TCP hash";
        for entries in ["2097152", "-2097152"] {
            assert_eq!(
                Bench::with(&[(HASH, entries)]).examine(rule).verdict,
                Verdict::Ok,
                "{entries}"
            );
        }
        let finding = Bench::with(&[(HASH, "262144")]).examine(rule);
        assert!(
            matches!(&finding.verdict, Verdict::Tolerable(why) if why.contains("19")),
            "{finding:?}"
        );
        assert!(finding.fix.unwrap().contains("thash_entries=2097152"));
        assert!(matches!(
            Bench::with(&[(HASH, "0")]).examine(rule).verdict,
            Verdict::Tolerable(_)
        ));
        assert!(matches!(
            Bench::with(&[]).examine(rule).verdict,
            Verdict::Absent(_)
        ));
        unknown(&Bench::with(&[(HASH, "big")]), rule);
        unknown(&Bench::denied(HASH), rule);
    }
}
