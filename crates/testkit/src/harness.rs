//! A server under test, from its start to the closing of its books.

use crate::peer::Peer;
use crate::wait::{SETTLE_WITHIN, eventually};
use roadstead::{Config, Engine, Finished, Server, Service, Stats};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One server at a time in this process: a worker's descriptor table starts as a copy, so a peer of
/// another test that is open at that moment would stay open in the worker, and its close go unseen.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A running server, its engine verified. [`Harness::finish`] ends it and checks its books.
pub struct Harness<M: Send + 'static> {
    server: Server<M>,
    ended: Receiver<usize>,
    _alone: MutexGuard<'static, ()>,
}

impl<M: Send + 'static> Harness<M> {
    /// Starts a server whose workers each have a clone of the service.
    ///
    /// # Panics
    /// When it does not start, or not with the engine that was asked for. io_uring setups need a
    /// kernel that allows io_uring: they fail without it, they are not skipped.
    pub fn start<S>(config: Config, service: S) -> Self
    where
        S: Service<Message = M> + Clone + Send + Sync,
    {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = config.engine;
        let server = Server::start(config, move |_| service.clone());
        let mut server =
            server.unwrap_or_else(|error| panic!("the server does not start: {error}"));
        assert!(asked == Engine::Auto || server.engine() == asked);
        let ended = server.take_ended().expect("not taken yet");
        Self {
            server,
            ended,
            _alone: alone,
        }
    }

    /// The server.
    pub fn server(&self) -> &Server<M> {
        &self.server
    }

    /// The first address.
    pub fn address(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    /// A new peer, connected to the first address.
    pub fn connect(&self) -> Peer {
        Peer::connect(self.address())
    }

    /// Counters now.
    pub fn stats(&self) -> Stats {
        self.server.stats()
    }

    /// Waits until the counters are like this.
    pub fn await_stats(&self, what: &str, mut holds: impl FnMut(&Stats) -> bool) {
        eventually(what, || holds(&self.stats()));
    }

    /// Waits until so many connections are open.
    pub fn await_live(&self, live: u64) {
        let what = format!("{live} connections are open");
        self.await_stats(&what, |stats| stats.live == live);
    }

    /// Descriptors in the table of a worker, which is its own.
    ///
    /// # Panics
    /// When the worker's thread cannot be found in `/proc`.
    pub fn worker_descriptors(&self, worker: usize) -> usize {
        let task = worker_task(worker).expect("the worker's thread runs");
        let descriptors = std::fs::read_dir(task.join("fd")).expect("own threads can be read");
        descriptors.count()
    }

    /// Waits until so many more workers have ended, for whatever reason.
    ///
    /// # Panics
    /// When they do not within [`SETTLE_WITHIN`].
    pub fn await_workers_ended(&self, workers: usize) {
        for _ in 0..workers {
            let ended = self.ended.recv_timeout(SETTLE_WITHIN);
            ended.expect("a worker should have ended");
        }
    }

    /// Drains the server, waits for its end and checks its books.
    ///
    /// # Panics
    /// When it does not end in time, a worker failed, or the counters do not add up.
    pub fn finish(self) -> Stats {
        self.server.drain(Duration::from_secs(5));
        self.finish_drained()
    }

    /// Ends a server at once and says how its workers ended, well or not.
    pub fn abandon(self) -> Finished {
        self.server.drain(Duration::ZERO);
        self.server.join()
    }

    /// Waits for the end of a server that was told to drain, and checks its books.
    ///
    /// # Panics
    /// As [`Self::finish`].
    pub fn finish_drained(self) -> Stats {
        self.await_workers_ended(self.server.cores().count());
        let finished = self.server.join();
        assert_eq!(finished.failures, Vec::<String>::new());
        check_books(&finished.stats);
        finished.stats
    }
}

/// Makes sure that the counters of a server that has ended add up.
///
/// # Panics
/// When they do not.
pub fn check_books(stats: &Stats) {
    assert_eq!(stats.live, 0, "connections are left: {stats:#?}");
    assert!(
        stats.accounts_close(),
        "opened is not live + closed: {stats:#?}"
    );
}

/// The `/proc` directory of a worker's thread, found by its name.
fn worker_task(worker: usize) -> Option<PathBuf> {
    let name = format!("roadstead-{worker}");
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    tasks
        .filter_map(|task| Some(task.ok()?.path()))
        .find(|task| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        })
}
