//! The threads of a run: started, led through the phases, and their tallies put together.

use crate::Error;
use crate::counters::Published;
use crate::phase::{Controller, DoneOnce, Observer, Stage, Timeline};
use crate::tally::Tally;
use crate::usage::{Usage, UsageObserver};
use crate::workload::{Herd, Workload};
use std::io;
use std::num::NonZeroU64;
use std::sync::{Arc, mpsc};

/// As late as a timer may be: the default of 50 µs would be seen in every latency.
const TIMER_SLACK_NS: u64 = 1_000;

/// What is to be done, apart from what each thread does.
pub(crate) struct Orders<'a> {
    pub(crate) workload: &'a Workload,
    pub(crate) threads: usize,
    pub(crate) server_pid: Option<u32>,
    /// Tells the server to stop; called if it is to close the connections.
    pub(crate) end_server: &'a dyn Fn(),
    /// Connections that wait for the server to accept them; 0 where that cannot be told.
    pub(crate) not_accepted: &'a dyn Fn() -> u64,
}

/// What one thread is given.
pub(crate) struct Post<'a> {
    /// Which thread it is.
    pub(crate) index: usize,
    pub(crate) stage: &'a Stage,
    pub(crate) done: DoneOnce,
    pub(crate) tally: Tally,
}

/// What all of them came to.
pub(crate) struct Outcome {
    pub(crate) timeline: Timeline,
    pub(crate) tally: Tally,
    pub(crate) usage: Usage,
    pub(crate) herd: Arc<Herd>,
}

/// Runs `work` on as many threads as ordered, from the first phase to the last.
pub(crate) fn run(
    orders: &Orders<'_>,
    observer: &mut dyn Observer,
    work: impl Fn(Post<'_>) -> io::Result<Tally> + Sync,
) -> Result<Outcome, Error> {
    let threads = orders.threads;
    let mut observer = UsageObserver::new(orders.server_pid, observer)?;
    let stage = Stage::new(threads)?;
    let published: Vec<Arc<Published>> = (0..threads).map(|_| Arc::default()).collect();
    let (sender, done) = mpsc::channel();
    let (timeline, tally) = std::thread::scope(|scope| {
        let _end = EndWhenDropped(&stage);
        let mut crew = Vec::with_capacity(threads);
        for (index, published) in published.iter().enumerate() {
            let post = Post {
                index,
                stage: &stage,
                done: DoneOnce::new(sender.clone()),
                tally: Tally::new(Arc::clone(published)),
            };
            let builder = std::thread::Builder::new().name(format!("load-{index}"));
            let started = builder.spawn_scoped(scope, || {
                be_punctual();
                work(post)
            });
            match started {
                Ok(thread) => crew.push(thread),
                Err(error) => {
                    let what = format!("cannot start thread {index} of {threads} ({error})");
                    return Err(Error::new(what, "raise the limit on tasks (ulimit -u)"));
                }
            }
        }
        drop(sender);
        let controller = Controller {
            workload: orders.workload,
            stage: &stage,
            published: &published,
            done,
            observer: &mut observer,
            end_server: orders.end_server,
            not_accepted: orders.not_accepted,
        };
        let timeline = controller.conduct();
        let mut tally = Tally::new(Arc::default());
        for thread in crew {
            tally.merge(
                &thread
                    .join()
                    .map_err(|_| panicked())?
                    .map_err(|error| stuck(&error))?,
            );
        }
        Ok((timeline, tally))
    })?;
    Ok(Outcome {
        timeline,
        tally,
        usage: observer.finish(),
        herd: stage.herd,
    })
}

/// Lets the calling thread's timers strike when they are due.
pub(crate) fn be_punctual() {
    // Refused or not, the run goes on: latencies are then some 50 µs longer.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK_NS));
}

/// Lets the threads return however the scope that waits for them is left: by an error, or because the observer
/// panicked.
struct EndWhenDropped<'a>(&'a Stage);

impl Drop for EndWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn panicked() -> Error {
    Error::new(
        "a client thread panicked",
        "report it: the message above says where",
    )
}

fn stuck(error: &io::Error) -> Error {
    Error::new(
        format!("a client thread cannot go on ({error})"),
        "see what the error names",
    )
}
