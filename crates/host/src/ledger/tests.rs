use std::net::{TcpListener, TcpStream};

use proptest::prelude::*;

use super::*;
use crate::testing::Tree;

const SLABINFO: &str = "slabinfo - version: 2.1\n\
    # name <active_objs> <num_objs> <objsize> <objperslab>\n\
    TCP 2013 2015 2304 14 8 : tunables 0 0 0 : slabdata 1 1 0\n\
    sock_inode_cache 3000 3000 832 19 4 : tunables 0 0 0 : slabdata 1 1 0\n\
    filp 9000 9000 256 16 1 : tunables 0 0 0 : slabdata 1 1 0\n\
    dentry 100 100 192 21 1 : tunables 0 0 0 : slabdata 1 1 0\n\
    lsm_inode_cache 4000 4000 32 128 1 : tunables 0 0 0 : slabdata 1 1 0\n\
    lsm_file_cache 4000 4000 24 170 1 : tunables 0 0 0 : slabdata 1 1 0\n";

/// Debian 12's kernel, as it counts: requests among the files.
fn debian_6_1() -> Tree {
    let tree = Tree::with(&[
        ("/proc/slabinfo", SLABINFO),
        ("/proc/sys/kernel/osrelease", "6.1.0-57-amd64\n"),
        (
            "/proc/net/sockstat",
            "TCP: inuse 2000 orphan 0 tw 0 alloc 2000 mem 7\n",
        ),
    ]);
    tree.link("/sys/kernel/slab/filp", ":A-0000256");
    tree.link("/sys/kernel/slab/io_kiocb", ":A-0000256");
    tree
}

fn ledger(tree: &Tree) -> Ledger {
    Ledger::take(&tree.root(), &[], &[1_000_000, 2_000_000]).unwrap()
}

#[track_caller]
fn row(ledger: &Ledger, object: Object) -> &Row {
    let what = format!("{} (", object.cache());
    let found = ledger.rows.iter().find(|row| row.what.starts_with(&what));
    found.unwrap_or_else(|| panic!("no row {what}"))
}

#[track_caller]
fn release(name: &str) -> ObjectSizes {
    ObjectSizes::of_release(Some(&name.parse().unwrap()))
}

#[test]
fn only_what_can_be_attributed_is_counted() {
    let ledger = ledger(&debian_6_1());
    assert_eq!(row(&ledger, Object::Tcp).objects, Some(2013), "all its own");
    assert_eq!(
        row(&ledger, Object::File).objects,
        Some(2000),
        "of 9,000 files"
    );
    assert_eq!(
        row(&ledger, Object::Dentry).objects,
        Some(100),
        "there are no more"
    );
    assert_eq!(row(&ledger, Object::File).shared_with, ["io_kiocb"]);
    let request = row(&ledger, Object::Request);
    assert_eq!(request.objects, Some(0), "no server is known");
    assert_eq!(request.counted_as.as_deref(), Some("filp"));
    assert_eq!(request.per_connection_bytes, 256.0);
}

#[test]
fn the_rows_add_up_to_the_total() {
    let ledger = ledger(&debian_6_1());
    let sum = |part: &dyn Fn(&Row) -> u64| ledger.rows.iter().map(part).sum::<u64>();
    assert_eq!(ledger.total.bytes, sum(&|row| row.bytes));
    for at in 0..2 {
        let projected = sum(&|row| row.projected_bytes[at]);
        assert_eq!(ledger.total.projected_bytes[at], projected);
    }
    let cost = ConnectionCost::on(&ledger.sizes, ledger.kind);
    let kernel = cost.total_bytes() - cost.user_bytes;
    assert_eq!(ledger.total.per_connection_bytes.ceil() as u64, kernel);
}

#[test]
fn slabinfo_decides_over_what_was_measured_beforehand() {
    let tree = debian_6_1();
    assert_eq!(ledger(&tree).sizes.source, SizeSource::Slabinfo);
    let denied = tree.root().denying("/proc/slabinfo");
    let ledger = Ledger::take(&denied, &[], &[]).unwrap();
    assert_eq!(ledger.sizes.source, SizeSource::Release("6.1".to_owned()));
    assert_eq!(ledger.counted_from, CountSource::Sockets);
    assert_eq!(row(&ledger, Object::Tcp).objects, Some(2000));
}

#[test]
fn the_nearest_release_that_is_not_newer_is_taken() {
    for (running, taken) in [
        ("5.15.0", "6.1"),
        ("6.1.0-57-amd64", "6.1"),
        ("6.11.4", "6.1"),
        ("6.12.9+deb12", "6.12"),
        ("6.18.44-fc", "6.18"),
        ("7.3.0", "6.18"),
    ] {
        let source = SizeSource::Release(taken.to_owned());
        assert_eq!(release(running).source, source, "{running}");
    }
    assert_eq!(ObjectSizes::newest(), release("6.18.0"));
}

/// The growth measured per connection on Linux 6.18 with 600,000 of them, by cache.
#[test]
fn what_was_measured_is_what_is_computed() {
    let kind = ConnectionKind::watched_by(Watch::Poll);
    let sizes = ObjectSizes::newest();
    let slab: u64 = sizes.sum(kind.objects());
    assert_eq!(slab, 2368 + 832 + 256 + 192 + 192 + 32 + 24);
    let accounting: f64 = kind.objects().map(|o| sizes.accounting_bytes(o)).sum();
    let (kmalloc_192, kmalloc_128) = (28.4, 17.8);
    assert!(
        (accounting - kmalloc_192 - kmalloc_128).abs() < 0.1,
        "{accounting}"
    );
}

#[test]
fn watches_cost_what_they_cost_on_each_kernel() {
    let watch = |name: &str, watch: Watch| release(name).sum(watch.objects().iter().copied());
    assert_eq!(watch("6.18.0", Watch::Recv), 864);
    assert_eq!(watch("6.1.0", Watch::Recv), 352);
    assert_eq!(watch("6.18.0", Watch::Epoll), 208);
    assert_eq!(
        Watch::EpollInRing.objects(),
        Watch::Epoll.objects(),
        "the same interests"
    );
}

#[test]
fn accounting_needs_a_control_group_beside_the_root() {
    let groups = |line: &str| format!("#subsys_name\thierarchy\tnum_cgroups\tenabled\n{line}\n");
    for (files, accounted) in [
        (vec![("/proc/cgroups", groups("memory\t0\t1\t1"))], false),
        (vec![("/proc/cgroups", groups("memory\t0\t40\t0"))], false),
        (vec![("/proc/cgroups", groups("memory\t0\t40\t1"))], true),
        (
            vec![(
                "/proc/cmdline",
                "quiet cgroup.memory=nosocket,nokmem".to_owned(),
            )],
            false,
        ),
        (vec![], true),
    ] {
        let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (*p, t.as_str())).collect();
        let sizes = ObjectSizes::read(&Tree::with(&files).root());
        assert_eq!(sizes.accounted, accounted, "{files:?}");
    }
}

#[test]
fn apparmor_adds_to_each_socket() {
    let tree = debian_6_1();
    assert_eq!(
        ObjectSizes::read(&tree.root()).bytes(Object::SocketSecurity),
        0
    );
    tree.put("/sys/module/apparmor/parameters/enabled", "Y\n");
    assert_eq!(
        ObjectSizes::read(&tree.root()).bytes(Object::SocketSecurity),
        16
    );
}

#[test]
fn the_table_is_for_people() {
    let text = ledger(&debian_6_1()).text();
    for expected in [
        "Linux 6.1.0-57-amd64; object sizes: this kernel's /proc/slabinfo",
        "no server runs",
        "objects    size         now   per connection       at 1M       at 2M",
        " TCP (socket, IPv4)                               2,013   2,304     4.4 MiB            2,304     2.1 GiB     4.3 GiB",
        " io_kiocb (io_uring request)                          0     256         0 B              256   244.1 MiB   488.3 MiB",
        " slab accounting (memory cgroup)                  6,113       8    54.2 KiB             44.4    42.3 MiB    84.7 MiB",
        " total                                                              6.7 MiB            3,941     3.7 GiB     7.3 GiB",
        "filp (its open file): counted as filp, a merged cache that also serves io_kiocb",
        "quoted    tcp_sock 1,500 + inet_sock 700 + nf_conntrack 900 = 3,100 B each, 6.2 GB",
        "measured  tcp_sock 2,304 with inet_sock inside + nf_conntrack 0 (untracked)",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
    }
}

#[test]
fn json_has_the_fields_that_are_documented() {
    let json = serde_json::to_value(ledger(&debian_6_1())).unwrap();
    assert_eq!(json["sizes"]["source"]["from"], "slabinfo");
    assert_eq!(json["sizes"]["objects"]["tcp"]["bytes"], 2304);
    assert_eq!(
        json["projected_to"],
        serde_json::json!([1_000_000, 2_000_000])
    );
    assert_eq!(json["rows"][0]["side"], "kernel");
    assert_eq!(json["rows"][0]["bytes"], 2013 * 2304);
    assert_eq!(json["total"]["side"], "total");
    assert_eq!(json["quoted"]["objects"][1]["object"], "inet_sock");
    assert_eq!(json["kind"]["watch"], "poll");
}

#[test]
fn connections_are_tracked_where_the_table_grew_with_them() {
    let server = ServerProcess {
        pid: 7,
        listeners: 1,
        kind: ConnectionKind::watched_by(Watch::Poll),
        worker_buffers_bytes: 1,
        worker_bytes: 1,
    };
    let tree = debian_6_1();
    tree.put("/proc/7/smaps", "");
    tree.put("/proc/7/fd/0", "");
    tree.put("/proc/7/task/8/comm", "roadstead-0\n");
    tree.put("/proc/7/task/8/status", "FDSize: 64\n");
    for fd in 0..43 {
        tree.put(&format!("/proc/7/task/8/fd/{fd}"), "");
    }
    for (entries, tracked) in [("3", false), ("44", true)] {
        tree.put("/proc/sys/net/netfilter/nf_conntrack_count", entries);
        let ledger = Ledger::take(&tree.root(), &[server], &[]).unwrap();
        assert_eq!(ledger.servers[0].connections, 40);
        assert_eq!(ledger.kind.tracked, tracked, "{entries} entries");
        let request = row(&ledger, Object::Request);
        assert_eq!(request.objects, Some(40), "those of the server");
    }
}

/// Needs root, for `/proc/slabinfo`; without it the numbers come from the count of sockets, and must grow too.
///
/// Slabinfo takes objects for used that lie free on a processor's own list, and others on this host open and close
/// sockets meanwhile: what stays open from one attempt uses such objects up for the next.
#[test]
fn sockets_of_this_host_are_counted() {
    const CONNECTIONS: u64 = 1_000;
    const ATTEMPTS: usize = 5;
    crate::raise_nofile().unwrap();
    let sockets = || {
        let ledger = Ledger::take(&HostRoot::live(), &[], &[]).unwrap();
        row(&ledger, Object::Tcp).objects.unwrap()
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let open = || {
        let client = TcpStream::connect(address).unwrap();
        (client, listener.accept().unwrap().0)
    };
    let mut kept = Vec::new();
    let mut attempt = || {
        let before = sockets();
        kept.extend((0..CONNECTIONS).map(|_| open()));
        sockets().saturating_sub(before)
    };
    let grown: Vec<u64> = (0..ATTEMPTS).map(|_| attempt()).collect();
    let near = 2 * CONNECTIONS * 9 / 10..2 * CONNECTIONS * 11 / 10;
    assert!(
        grown.iter().any(|grown| near.contains(grown)),
        "{grown:?}, and not {}",
        2 * CONNECTIONS
    );
}

proptest! {
    #[test]
    fn no_content_panics(
        slabinfo in "(TCP|filp|dentry) [0-9]{1,20} [0-9]{1,20} [0-9]{1,20} [0-9]{1,20}\n",
        sockstat in "TCP: inuse [0-9]{1,20} orphan [0-9]{1,20} tw 1 alloc 1 mem [0-9]{1,20}\n",
        cgroups in "memory[ 0-9a-z]{0,20}",
        connections: u64,
    ) {
        let tree = Tree::with(&[
            ("/proc/slabinfo", &slabinfo),
            ("/proc/net/sockstat", &sockstat),
            ("/proc/cgroups", &cgroups),
        ]);
        if let Ok(ledger) = Ledger::take(&tree.root(), &[], &[connections]) {
            prop_assert!(!ledger.text().is_empty());
        }
    }
}
