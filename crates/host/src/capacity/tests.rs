use proptest::prelude::*;

use super::*;
use crate::ledger::{ConnectionKind, ObjectSizes};
use crate::testing::Tree;
use crate::{LimitPair, Memory};

const GIB: u64 = 1 << 30;

/// The host that the project aims at: 2 cores, 24 GiB, a hard nofile limit of 20,000.
fn host() -> Limits {
    let nofile = LimitPair {
        soft: Limit::Value(1024),
        hard: Limit::Value(20_000),
    };
    let memory = Memory {
        total_bytes: 24 * GIB,
        available_bytes: 23 * GIB,
        bound: MemoryBound::Host,
    };
    Limits {
        cores: 2,
        nofile: Some(nofile),
        nr_open: Some(1_048_576),
        memory: Some(memory),
        ..Limits::read(&Tree::with(&[]).root())
    }
}

fn with_hard_nofile(hard: u64) -> Limits {
    let nofile = LimitPair {
        soft: Limit::Value(1024),
        hard: Limit::Value(hard),
    };
    Limits {
        nofile: Some(nofile),
        ..host()
    }
}

fn request(connections: Choice, workers: Choice) -> Request {
    let cost = ConnectionCost::watched_by(Watch::Poll);
    Request {
        connections,
        workers,
        listeners: 1,
        cost,
        worker_bytes: 1 << 20,
    }
}

#[test]
fn five_million_fit_the_target_host_with_more_workers_than_cores() {
    let plan = plan(&request(Choice::Exactly(5_000_000), Choice::Auto), &host()).unwrap();
    assert_eq!(plan.connections, 5_000_000);
    assert_eq!(plan.binding, Binding::Asked);
    assert!(
        (250..300).contains(&plan.workers) && plan.workers.is_multiple_of(2),
        "{plan:?}"
    );
    let reserve = descriptor_reserve(
        &request(Choice::Auto, Choice::Auto),
        u64::from(plan.workers),
    );
    assert!(plan.worker_connections + reserve <= 20_000, "{plan:?}");
    assert!(plan.can_hold >= 5_000_000);
    assert_eq!(plan.connections_bytes, 5_000_000 * 3992);
}

#[test]
fn asked_for_nothing_memory_binds_and_the_plan_says_why_there_are_many_workers() {
    let plan = plan(&request(Choice::Auto, Choice::Auto), &host()).unwrap();
    assert_eq!(plan.binding, Binding::Memory);
    assert!(
        (250..320).contains(&plan.workers) && plan.connections > 5_000_000,
        "{plan:?}"
    );
    assert_eq!(plan.connections, plan.can_hold);
    let said = plan.to_string();
    assert!(
        said.contains("the nofile limit gives each 20,000 descriptors")
            && said.contains("--workers 2 holds 38,"),
        "{said}"
    );
}

#[test]
fn asked_for_nothing_without_known_memory_there_is_a_worker_per_core() {
    let limits = Limits {
        memory: None,
        ..host()
    };
    let plan = plan(&request(Choice::Auto, Choice::Auto), &limits).unwrap();
    assert_eq!((plan.workers, plan.binding), (2, Binding::Descriptors));
    assert!((37_000..40_000).contains(&plan.connections), "{plan:?}");
}

#[test]
fn a_tracked_port_is_bound_by_the_tracking_table() {
    let tracked = ConnectionKind {
        tracked: true,
        ..ConnectionKind::watched_by(Watch::Poll)
    };
    let tracked = |connections| Request {
        cost: ConnectionCost::on(&ObjectSizes::newest(), tracked),
        ..request(connections, Choice::Auto)
    };
    let limits = Limits {
        conntrack_left: Some(65_000),
        ..host()
    };
    let auto = plan(&tracked(Choice::Auto), &limits).unwrap();
    assert_eq!(
        (auto.connections, auto.binding),
        (65_000, Binding::Conntrack)
    );
    let short = plan(&tracked(Choice::Exactly(100_000)), &limits).unwrap_err();
    assert!(short.fix().contains("by 35000"), "{short}");
    let untracked = request(Choice::Exactly(100_000), Choice::Auto);
    assert!(plan(&untracked, &limits).is_ok());
}

#[test]
fn interests_are_bound_by_the_epoll_watches_of_a_user() {
    let limits = Limits {
        epoll_watches: Some(1_000_000),
        ..host()
    };
    let watched_by = |watch, connections| Request {
        cost: ConnectionCost::watched_by(watch),
        ..request(connections, Choice::Auto)
    };
    for watch in [Watch::Epoll, Watch::EpollInRing] {
        let auto = plan(&watched_by(watch, Choice::Auto), &limits).unwrap();
        assert_eq!(auto.binding, Binding::EpollWatches);
        assert!((990_000..1_000_000).contains(&auto.connections), "{auto:?}");
        let asked = watched_by(watch, Choice::Exactly(2_000_000));
        let short = plan(&asked, &limits).unwrap_err();
        assert!(short.fix().contains("max_user_watches=2400000"), "{short}");
    }
    assert!(
        plan(
            &watched_by(Watch::Poll, Choice::Exactly(2_000_000)),
            &limits
        )
        .is_ok()
    );
}

#[test]
fn a_generous_nofile_leaves_memory_to_bind() {
    let limits = Limits {
        nr_open: Some(6_000_000),
        ..with_hard_nofile(6_000_000)
    };
    let plan = plan(&request(Choice::Auto, Choice::Auto), &limits).unwrap();
    assert_eq!((plan.workers, plan.binding), (2, Binding::Memory));
    assert!(plan.connections > 5_000_000);
    assert!(!plan.to_string().contains("More workers"), "{plan}");
}

#[test]
fn one_worker_needs_no_room_for_spread() {
    let plan = plan(&request(Choice::Auto, Choice::Exactly(1)), &host()).unwrap();
    assert_eq!(plan.connections, 20_000 - DESCRIPTORS_BASE - 2);
    assert_eq!(plan.worker_connections, plan.connections);
}

#[test]
fn too_few_workers_are_refused_with_the_number_that_would_do() {
    let short = plan(
        &request(Choice::Exactly(5_000_000), Choice::Exactly(2)),
        &host(),
    )
    .unwrap_err();
    assert_eq!(short.binding, Binding::Descriptors);
    let enough = workers_for(5_000_000, &request(Choice::Auto, Choice::Auto), &host());
    assert!(
        short.fix().contains(&format!("--workers {enough}")),
        "{short}"
    );
    assert!(
        plan(
            &request(Choice::Exactly(5_000_000), Choice::Exactly(enough)),
            &host()
        )
        .is_ok()
    );
}

#[test]
fn the_fix_for_descriptors_is_enough() {
    let limits = with_hard_nofile(256);
    let short = plan(&request(Choice::Exactly(1_000_000), Choice::Auto), &limits).unwrap_err();
    assert_eq!(short.binding, Binding::Descriptors);
    let words = short.fix().split_whitespace();
    let raised: u64 = words
        .filter_map(|word| word.parse().ok())
        .next()
        .expect("a number to raise to");
    assert!(
        plan(
            &request(Choice::Exactly(1_000_000), Choice::Auto),
            &with_hard_nofile(raised)
        )
        .is_ok()
    );
}

#[test]
fn too_little_memory_says_how_much_is_missing() {
    let short = plan(&request(Choice::Exactly(20_000_000), Choice::Auto), &host()).unwrap_err();
    assert_eq!(short.binding, Binding::Memory);
    assert!(
        short.to_string().contains("GiB") && short.can_hold > 5_000_000,
        "{short}"
    );
    assert!(
        plan(
            &request(Choice::Exactly(short.can_hold), Choice::Auto),
            &host()
        )
        .is_ok()
    );
}

#[test]
fn a_control_group_is_named_as_what_binds() {
    let memory = Memory {
        total_bytes: GIB,
        available_bytes: GIB,
        bound: MemoryBound::ControlGroup,
    };
    let limits = Limits {
        memory: Some(memory),
        ..host()
    };
    let short = plan(&request(Choice::Exactly(1_000_000), Choice::Auto), &limits).unwrap_err();
    assert_eq!(short.binding, Binding::ControlGroupMemory);
    assert!(short.fix().contains("MemoryMax="), "{short}");
}

#[test]
fn file_max_binds_those_without_the_capability() {
    let limits = Limits {
        file_max: Some(100_000),
        files_open: Some(1_000),
        ..host()
    };
    let short = plan(&request(Choice::Exactly(200_000), Choice::Auto), &limits).unwrap_err();
    assert_eq!(short.binding, Binding::FileMax);
    assert!(short.fix().contains("fs.file-max="), "{short}");
    let own = Request {
        cost: ConnectionCost::watched_by(Watch::Poll).with_peer_on_this_host(),
        ..request(Choice::Exactly(90_000), Choice::Auto)
    };
    assert_eq!(
        plan(&own, &limits).unwrap_err().binding,
        Binding::FileMax,
        "both ends are files"
    );
}

#[test]
fn a_limit_that_leaves_nothing_is_an_error_even_for_auto() {
    let short = plan(&request(Choice::Auto, Choice::Auto), &with_hard_nofile(20)).unwrap_err();
    assert_eq!((short.can_hold, short.binding), (0, Binding::Descriptors));
}

#[test]
fn workers_past_the_maximum_are_refused() {
    let short = plan(
        &request(Choice::Auto, Choice::Exactly(WORKERS_MAX + 1)),
        &host(),
    )
    .unwrap_err();
    assert!(short.to_string().contains("1024"), "{short}");
}

#[test]
fn the_ceiling_is_what_any_number_of_workers_reaches() {
    let bound = ceiling(&request(Choice::Auto, Choice::Auto), &host());
    assert_eq!(bound.binding, Binding::Memory);
    assert!(
        (5_000_000..6_500_000).contains(&bound.connections),
        "{bound:?}"
    );
    assert!(
        plan(
            &request(Choice::Exactly(bound.connections - 100_000), Choice::Auto),
            &host()
        )
        .is_ok()
    );
}

#[test]
fn a_host_that_tells_nothing_is_taken_at_the_kernels_default() {
    let limits = Limits::read(&Tree::with(&[]).root());
    let plan = plan(&request(Choice::Auto, Choice::Auto), &limits).unwrap();
    assert_eq!(plan.connections, NOFILE_WHEN_UNKNOWN - DESCRIPTORS_BASE - 2);
}

#[test]
fn watches_cost_what_they_cost() {
    let total = |watch| ConnectionCost::watched_by(watch).total_bytes();
    assert_eq!(
        (total(Watch::Poll), total(Watch::Epoll), total(Watch::Recv)),
        (3992, 3960, 4600)
    );
}

fn choices() -> impl Strategy<Value = Choice> {
    prop_oneof![
        Just(Choice::Auto),
        (1..u64::MAX).prop_map(Choice::Exactly),
        (1..20_000_000u64).prop_map(Choice::Exactly)
    ]
}

prop_compose! {
    fn any_limits()(
        cores in 0..3_000u32,
        hard in prop_oneof![0..100_000u64, any::<u64>()],
        nr_open in proptest::option::of(any::<u64>()),
        memory in proptest::option::of((any::<u64>(), 0..64 * GIB)),
        file_max in proptest::option::of(any::<u64>()),
        files_open in proptest::option::of(any::<u64>()),
    ) -> Limits {
        let pair = LimitPair { soft: Limit::Value(hard), hard: Limit::Value(hard) };
        let memory = memory.map(|(total_bytes, available_bytes)| Memory { total_bytes, available_bytes, bound: MemoryBound::Host });
        Limits { cores, nofile: Some(pair), nr_open, memory, file_max, files_open, ..host() }
    }
}

proptest! {
    /// Whatever is asked of whatever host: a plan keeps every limit, a refusal is truthful.
    #[test]
    fn plans_keep_their_limits(connections in choices(), workers in choices(), limits in any_limits()) {
        let request = request(connections, workers);
        match plan(&request, &limits) {
            Ok(plan) => {
                prop_assert!(plan.connections >= 1 && plan.connections <= plan.can_hold);
                prop_assert!(plan.workers >= 1 && u64::from(plan.workers) <= WORKERS_MAX);
                let workers = u64::from(plan.workers);
                let descriptors = plan.worker_connections + descriptor_reserve(&request, workers);
                prop_assert!(descriptors <= descriptors_per_worker(&limits), "{plan:?}");
                prop_assert!(plan.worker_connections.saturating_mul(workers) >= plan.connections);
                if let Choice::Exactly(wanted) = connections {
                    prop_assert_eq!(plan.connections, wanted);
                }
                prop_assert!(!plan.to_string().is_empty());
            }
            Err(short) => {
                prop_assert!(short.can_hold < short.wanted, "{short:?}");
                prop_assert!(!short.to_string().is_empty());
            }
        }
        let _ = ceiling(&request, &limits);
    }

    #[test]
    fn the_mean_that_fits_is_the_largest(usable in 0..(1u64 << 40), workers in 1..1000u64) {
        let mean = mean_that_fits(usable, workers);
        prop_assert!(with_skew(mean, workers) <= usable);
        // The floating point may miss the very largest by the rounding of a square.
        prop_assert!(with_skew(mean + 2 + mean / (1 << 20), workers) > usable);
    }
}
