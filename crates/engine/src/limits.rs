//! Every fixed capacity of the engine, each with its reason. What operators choose is in `config`.

use crate::table::Record;
use std::time::Duration;

/// Bytes of the engine per connection: 100 more would be 500 MB at five million.
pub(crate) const RECORD_BYTES: usize = 32;
const _: () = assert!(size_of::<Record>() == RECORD_BYTES);

/// Entries of a submission queue. When it is full it is handed over early, which costs one system
/// call; 64 B each, in every worker.
pub(crate) const SQ_ENTRIES: u32 = 512;

/// Entries of a completion queue, 16 B each. One submission completes at most `SQ_ENTRIES`, one wait
/// runs at most `BATCH_MAX` more; the rest is room for reads that repeat before they are taken.
pub(crate) const CQ_ENTRIES: u32 = 2048;
const _: () = assert!(CQ_ENTRIES >= 2 * (SQ_ENTRIES + BATCH_MAX as u32));

/// Answers to pending requests that one wait asks for at most. Linux runs max(20, this) of them per wait;
/// more would push a connection's socket out of the cache between read and reply.
pub(crate) const BATCH_MAX: usize = 256;
/// Single reads submitted for each free buffer, where one buffer can serve several: most messages are much
/// smaller than a buffer, and a read that finds none left is submitted again first thing.
pub(crate) const READS_PER_BUFFER: usize = 16;
/// Answers expected within `BATCH_WAIT` from which on waits gather batches: 40,000 per second.
pub(crate) const BATCH_MIN: usize = 4;
/// How long it gathers before it settles for less: what batching may add to a message's latency.
pub(crate) const BATCH_WAIT: Duration = Duration::from_micros(100);
/// Stands for "no timeout" where the kernel takes a batch's timeout only together with another.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(3_600);
const _: () = assert!(BATCH_MIN < BATCH_MAX);

/// Events of one `epoll_wait(2)`.
pub(crate) const EPOLL_EVENTS: usize = 256;

/// The epoll driver's one read buffer.
pub(crate) const SCRATCH_BYTES: usize = 16 * 1024;

/// Connections taken from one listener before other events are looked at again.
pub(crate) const ACCEPT_BATCH: u32 = 64;

/// The first and the longest pause after `accept` failed for want of descriptors or memory.
pub(crate) const ACCEPT_BACKOFF_MIN_MS: u64 = 10;
pub(crate) const ACCEPT_BACKOFF_MAX_MS: u64 = 1_000;

/// Emptied output and carry memory that a worker keeps for reuse. 264 workers hold 264 MiB at most.
pub(crate) const POOL_BYTES: usize = 1 << 20;

/// Messages that wait in one worker's mailbox; then posting says `Full`.
pub(crate) const MAILBOX_MESSAGES: usize = 65_536;

/// Connections that a drain turns to per loop, so that the others are still served meanwhile.
pub(crate) const DRAIN_BATCH: u32 = 1_024;

/// Pending multishot polls of one ring. A closing connection's poll is found by walking one of 256
/// hash buckets: this bounds the walk at 128 entries.
pub(crate) const POLL_MULTISHOT_PENDING_MAX: u32 = 32_768;

/// A connection's messages within its recent seconds from which it counts as busy, under `adaptive`:
/// the sum halves each second, so this is a steady eight per second.
pub(crate) const PROMOTE_HEAT: u8 = 16;
const _: () = assert!(PROMOTE_HEAT < u8::MAX);

/// Kernel memory that armed reads of promoted connections may take, over all workers, and what one
/// takes beyond a poll (io_async_msghdr 512, async_poll 96; Linux 6.18).
pub(crate) const PROMOTED_BYTES: usize = 64 << 20;
pub(crate) const PROMOTED_CONNECTION_BYTES: usize = 608;

/// Requests that one second's cancels may walk past to demote what went quiet, and the most cancels.
/// Each walks one of 256 buckets, 124 µs where 152,000 are pending: this is a hundredth of a core, and
/// at 2.5 million pending on one ring it is five demotions per second.
pub(crate) const DEMOTION_WALK: usize = 12_500_000;
pub(crate) const DEMOTIONS_PER_SECOND: usize = 256;

/// Handles and slots are 32 bits, and `u32::MAX` stands for "none".
pub(crate) const CONNECTIONS_PER_WORKER_MAX: u32 = 1 << 24;
