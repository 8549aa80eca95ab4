//! One io_uring: submission, waiting, completion, and the memory that requests borrow.
//!
//! What a request needs while the kernel works on it belongs to this type for that time:
//!
//! - reads take buffers from the [`BufferRing`], which lives as long as the ring;
//! - an epoll interest is copied by the kernel when its request is submitted;
//! - bytes to send are moved in with [`Ring::send`] and moved out with [`Completion::Sent`];
//! - everything else carries descriptors and integers only.

use super::buffer_ring::{BufferRing, Lease};
use super::socket::adopt;
use crate::buffers::Outgoing;
use crate::slab::Slab;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::time::Duration;

/// `IORING_RECV_MULTISHOT` of `linux/io_uring.h`.
const RECV_MULTISHOT: u16 = 2;

/// The top byte of `user_data` says who reads the rest of it: these two are the ring's own, all
/// smaller values are its caller's.
const TAG_SHIFT: u32 = 56;
const TAG_SEND: u64 = 0xff;
const TAG_ACCEPT: u64 = 0xfe;

const NO_INTEREST: libc::epoll_event = libc::epoll_event { events: 0, u64: 0 };

/// Sizes of a ring, in entries and bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingSizes {
    pub(crate) sq_entries: u32,
    pub(crate) cq_entries: u32,
    pub(crate) buffers: u16,
    pub(crate) buffer_bytes: u32,
    /// Let one buffer serve many reads, where the kernel can.
    pub(crate) incremental: bool,
}

/// How long [`Ring::enter`] waits, and for how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// Completions to wait for; the kernel also runs at most max(20, this) pieces of deferred work.
    pub(crate) completions: usize,
    /// Give up after this long; `None` waits for ever.
    pub(crate) timeout: Option<Duration>,
    /// After this long one completion is enough (Linux 6.12; ignored before).
    pub(crate) batch_for: Option<Duration>,
}

/// What the kernel has posted, with whatever comes back with it.
pub(crate) enum Completion {
    Accepted {
        listener: u8,
        socket: io::Result<OwnedFd>,
        more: bool,
    },
    Sent {
        token: u64,
        outgoing: Outgoing,
        result: io::Result<usize>,
    },
    Other {
        token: u64,
        result: i32,
        more: bool,
        nonempty: bool,
        lease: Option<Lease>,
    },
}

#[derive(Clone, Copy)]
struct Posted {
    user_data: u64,
    result: i32,
    flags: u32,
}

pub(crate) struct Ring {
    uring: IoUring,
    /// Dropped by hand, after the kernel has let go of it.
    buffers: ManuallyDrop<BufferRing>,
    /// Token and bytes of each send that the kernel has not answered.
    sends: ManuallyDrop<Slab<(u64, Outgoing)>>,
    posted: VecDeque<Posted>,
    /// What epoll interests are to be, until the kernel has copied them at their submission: as many as
    /// can wait for that, used in turn.
    interests: Box<[libc::epoll_event]>,
    next_interest: usize,
    batches: bool,
    /// Waiting for more could overflow the completion queue.
    wait_max: usize,
    overflows: u64,
}

impl Ring {
    /// Sets up a ring for the calling thread, which alone may use it (`SINGLE_ISSUER`).
    ///
    /// # Errors
    /// `ENOSYS` or `EPERM` where io_uring is disabled, `EINVAL` on a kernel before 6.1, `ENOMEM`.
    pub(crate) fn new(sizes: RingSizes) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder
            .setup_cqsize(sizes.cq_entries)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun();
        let uring: IoUring = builder.build(sizes.sq_entries)?;
        let register = |incremental| {
            BufferRing::register(
                &uring.submitter(),
                sizes.buffers,
                sizes.buffer_bytes,
                incremental,
            )
        };
        let buffers = match register(sizes.incremental) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => register(false)?,
            other => other?,
        };
        Ok(Self {
            batches: uring.params().is_feature_min_timeout(),
            wait_max: sizes.cq_entries as usize / 2,
            interests: vec![NO_INTEREST; uring.params().sq_entries() as usize].into(),
            next_interest: 0,
            uring,
            buffers: ManuallyDrop::new(buffers),
            sends: ManuallyDrop::new(Slab::new()),
            posted: VecDeque::with_capacity(sizes.cq_entries as usize),
            overflows: 0,
        })
    }

    pub(crate) fn buffers(&self) -> &BufferRing {
        &self.buffers
    }

    pub(crate) fn buffers_mut(&mut self) -> &mut BufferRing {
        &mut self.buffers
    }

    /// Whether a wait can ask for a batch and settle for less after a while.
    pub(crate) fn batches(&self) -> bool {
        self.batches
    }

    /// Times that the completion queue was found to have overflowed; the kernel kept what did not fit.
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Watches `fd` for `events` (`POLLIN`, …): once, or until removed.
    pub(crate) fn poll(&mut self, token: u64, fd: BorrowedFd<'_>, events: i16, multishot: bool) {
        let events = u32::from(events.cast_unsigned());
        let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), events)
            .multi(multishot)
            .build();
        self.push(&entry.user_data(token));
    }

    /// Accepts until an error ends it (a completion without `more`).
    pub(crate) fn accept(&mut self, listener: u8, fd: BorrowedFd<'_>) {
        // Not SOCK_NONBLOCK: on such a file io_uring fails a request instead of arming it.
        let entry = opcode::AcceptMulti::new(Fd(fd.as_raw_fd()))
            .flags(libc::SOCK_CLOEXEC)
            .build();
        self.push(&entry.user_data(TAG_ACCEPT << TAG_SHIFT | u64::from(listener)));
    }

    /// Reads once into a provided buffer; completes while it is submitted, with `EAGAIN` if need be.
    pub(crate) fn receive(&mut self, token: u64, fd: BorrowedFd<'_>) {
        let entry = opcode::Recv::new(Fd(fd.as_raw_fd()), std::ptr::null_mut(), 0)
            .flags(libc::MSG_DONTWAIT)
            .buf_group(BufferRing::GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(&entry.user_data(token));
    }

    /// Reads into provided buffers whenever there is data, until a completion without `more`.
    ///
    /// Reads before it polls. Polling first (`IORING_RECVSEND_POLL_FIRST`) would spare it `ENOBUFS`
    /// while the buffer ring is empty, but readiness that is there already, of data and of a reset
    /// behind it, is then spent on the data, and the reset goes unnoticed.
    pub(crate) fn receive_multishot(&mut self, token: u64, fd: BorrowedFd<'_>) {
        let entry = opcode::Recv::new(Fd(fd.as_raw_fd()), std::ptr::null_mut(), 0)
            .ioprio(RECV_MULTISHOT)
            .buf_group(BufferRing::GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(&entry.user_data(token));
    }

    /// Sends what the socket takes at once. Like [`Self::receive`] it never waits in the kernel.
    pub(crate) fn send(&mut self, token: u64, fd: BorrowedFd<'_>, outgoing: Outgoing) {
        let bytes = outgoing.unsent();
        let entry = opcode::Send::new(Fd(fd.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            .build();
        // Moving `outgoing` moves a pointer to the bytes, not the bytes.
        let key = self.sends.insert((token, outgoing));
        self.push(&entry.user_data(TAG_SEND << TAG_SHIFT | u64::from(key)));
    }

    /// Cancels the request that was submitted with `target`; completes under `token`.
    ///
    /// The kernel walks one of at most 256 hash buckets to find it.
    pub(crate) fn cancel(&mut self, token: u64, target: u64) {
        self.push(&opcode::AsyncCancel::new(target).build().user_data(token));
    }

    /// Registers `fd` with `epoll` for `interest`, under `data`; completes under `token` if it fails.
    pub(crate) fn epoll_add(
        &mut self,
        token: u64,
        epoll: BorrowedFd<'_>,
        fd: BorrowedFd<'_>,
        (interest, data): (i32, u64),
    ) {
        let at = self.next_interest;
        self.next_interest = (at + 1) % self.interests.len();
        self.interests[at] = libc::epoll_event {
            events: interest.cast_unsigned(),
            u64: data,
        };
        let event = (&raw const self.interests[at]).cast();
        let entry = opcode::EpollCtl::new(
            Fd(epoll.as_raw_fd()),
            Fd(fd.as_raw_fd()),
            libc::EPOLL_CTL_ADD,
            event,
        )
        .build();
        self.push(&entry.user_data(token).flags(squeue::Flags::SKIP_SUCCESS));
    }

    /// Closes a descriptor with the next submission, without a system call of its own.
    pub(crate) fn close(&mut self, token: u64, fd: OwnedFd) {
        let entry = opcode::Close::new(Fd(fd.into_raw_fd())).build();
        self.push(&entry.user_data(token).flags(squeue::Flags::SKIP_SUCCESS));
    }

    /// Hands over what was pushed and waits for completions, which [`Self::take`] then yields.
    pub(crate) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.buffers.publish();
        // Answers that were taken over early, by a full submission queue, must not wait for more.
        let timeout = if self.posted.is_empty() {
            wait.timeout
        } else {
            Some(Duration::ZERO)
        };
        let timeout = timeout.map(|t| Timespec::new().sec(t.as_secs()).nsec(t.subsec_nanos()));
        let mut args = SubmitArgs::new();
        if let Some(timeout) = &timeout {
            args = args.timespec(timeout);
        }
        if let (true, Some(batch_for)) = (self.batches, wait.batch_for) {
            args = args.min_wait_usec(batch_for.as_micros() as u32);
        }
        let want = wait
            .completions
            .saturating_sub(self.posted.len())
            .clamp(1, self.wait_max);
        let entered = self.uring.submitter().submit_with_args(want, &args);
        self.drain();
        match entered {
            Ok(_) => Ok(()),
            // EBUSY, EAGAIN: completions must be taken or memory freed before more is accepted.
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// The next completion, oldest first.
    pub(crate) fn take(&mut self) -> Option<Completion> {
        let Posted {
            user_data,
            result,
            flags,
        } = self.posted.pop_front()?;
        let more = cqueue::more(flags);
        let low = user_data as u32;
        match user_data >> TAG_SHIFT {
            TAG_SEND => {
                let (token, outgoing) = self.sends.remove(low).expect("one completion per send");
                Some(Completion::Sent {
                    token,
                    outgoing,
                    result: bytes_or_error(result),
                })
            }
            TAG_ACCEPT => {
                let socket = bytes_or_error(result).map(|_| adopt(result));
                Some(Completion::Accepted {
                    listener: low as u8,
                    socket,
                    more,
                })
            }
            _ => {
                let len = u32::try_from(result).unwrap_or(0);
                let lease = self.buffers.lease(flags, len);
                let nonempty = cqueue::sock_nonempty(flags);
                Some(Completion::Other {
                    token: user_data,
                    result,
                    more,
                    nonempty,
                    lease,
                })
            }
        }
    }

    /// Queues a request. A full submission queue is handed over first.
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY:
        // - pointers in the entry stay valid until its completion → sends point into `self.sends`,
        //   which gives the bytes back only for their completion; interests point into
        //   `self.interests`, are copied when they are submitted, and no more of them than its length
        //   can wait for that, so none is overwritten before; all others carry none (a read's memory is
        //   chosen from `self.buffers` by the kernel). All outlive the ring, see `drop`.
        while unsafe { self.uring.submission().push(entry) }.is_err() {
            self.buffers.publish();
            // An error here is one of `enter`'s; the entries stay queued and are tried again.
            let _ = self.uring.submit();
            self.drain();
        }
    }

    /// Copies what is posted out of the shared ring, so that its space is free again.
    fn drain(&mut self) {
        if self.uring.submission().cq_overflow() {
            self.overflows += 1;
        }
        let posted = self.uring.completion().map(|entry| Posted {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        });
        self.posted.extend(posted);
    }
}

impl Drop for Ring {
    /// Closing a ring does not wait for its requests, and they may still write into its buffers. So
    /// everything is cancelled first; if that cannot be confirmed, the memory is leaked.
    fn drop(&mut self) {
        let cancelled = self
            .uring
            .submitter()
            .register_sync_cancel(None, CancelBuilder::any());
        let nothing_pending = match cancelled {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
        };
        if !nothing_pending {
            return;
        }
        // SAFETY:
        // - dropped once → only here, and `self` ends with this call.
        // - no request refers to the memory → the kernel has just confirmed that none is left.
        unsafe {
            ManuallyDrop::drop(&mut self.sends);
            ManuallyDrop::drop(&mut self.buffers);
        }
    }
}

fn bytes_or_error(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}
