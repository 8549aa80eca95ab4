//! Starting workers, talking to them from outside, and waiting for their end.

use crate::config::{Config, Engine, Steering};
use crate::driver::Driver;
use crate::driver::epoll::EpollDriver;
use crate::driver::uring::UringDriver;
use crate::error::{StartError, UringUnavailable};
use crate::held::Held;
use crate::listener::{self, Listener};
use crate::mailbox::{Full, Mailbox};
use crate::probe::{self, UringFeatures};
use crate::service::Service;
use crate::stats::{Stats, WorkerStats};
use crate::steering;
use crate::sys::socket;
use crate::thread;
use crate::worker::WorkerLoop;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running server. Dropping it drains at once: connections are cut off.
pub struct Server<M: Send + 'static> {
    addresses: Vec<SocketAddr>,
    chosen: Chosen,
    workers: Vec<RunningWorker>,
    mailboxes: Arc<[Mailbox<M>]>,
    ended: Option<Receiver<usize>>,
}

struct RunningWorker {
    thread: Option<JoinHandle<std::io::Result<()>>>,
    core: Option<usize>,
    stats: Arc<WorkerStats>,
}

/// How the workers ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished {
    /// The counters of all workers, at their end.
    pub stats: Stats,
    /// Workers that did not end by draining, with what ended them.
    pub failures: Vec<String>,
}

impl<M: Send + 'static> Server<M> {
    /// Binds, starts every worker and returns once all of them listen.
    ///
    /// `make_service` is called once in each worker's thread, with the worker's number.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running or open.
    pub fn start<S, F>(config: Config, make_service: F) -> Result<Self, StartError>
    where
        S: Service<Message = M>,
        F: Fn(usize) -> S + Send + Sync + 'static,
    {
        config.validate()?;
        listener::check_free(&config.listen)?;
        let chosen = choose_engine(config.engine)?;
        let engine = chosen.engine;
        let mailboxes = (0..config.workers)
            .map(|_| Mailbox::new())
            .collect::<Result<_, _>>();
        let mailboxes: Arc<[Mailbox<M>]> =
            mailboxes.map_err(StartError::os("making an eventfd per worker"))?;
        let config = Arc::new(config);
        let make_service = Arc::new(make_service);
        let (ended_sender, ended) = mpsc::channel();
        let mut server = Self {
            addresses: Vec::new(),
            chosen,
            workers: Vec::new(),
            mailboxes,
            ended: Some(ended),
        };
        let mut go = Vec::with_capacity(config.workers);
        let mut listen = config.listen.clone();
        for index in 0..config.workers {
            let setup = WorkerSetup {
                index,
                engine,
                // The first worker resolves port 0; the others join its ports.
                listen: listen.clone(),
                config: Arc::clone(&config),
                mailboxes: Arc::clone(&server.mailboxes),
                stats: Arc::default(),
                ended: EndedNote {
                    worker: index,
                    sender: ended_sender.clone(),
                },
            };
            let (addresses, go_sender) = server.spawn(setup, Arc::clone(&make_service))?;
            listen.clone_from(&addresses);
            server.addresses = addresses;
            go.push(go_sender);
        }
        // None listens before all are bound: the kernel would choose among those that are.
        for (index, go) in go.into_iter().enumerate() {
            let (done_sender, done) = mpsc::channel();
            let answered = go.send(done_sender).ok().and_then(|()| done.recv().ok());
            answered.unwrap_or_else(|| {
                Err(StartError::Config(format!(
                    "worker {index} ended while it started"
                )))
            })?;
        }
        Ok(server)
    }

    /// Starts one worker and waits until it has everything but its first connection.
    fn spawn<S, F>(
        &mut self,
        setup: WorkerSetup<M>,
        make_service: Arc<F>,
    ) -> Result<(Vec<SocketAddr>, Sender<Listening>), StartError>
    where
        S: Service<Message = M>,
        F: Fn(usize) -> S + Send + Sync + 'static,
    {
        let index = setup.index;
        let stats = Arc::clone(&setup.stats);
        let (ready_sender, ready) = mpsc::channel();
        let (go_sender, go) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("roadstead-{index}"))
            .spawn(move || setup.run(&*make_service, &ready_sender, &go))
            .map_err(StartError::os(format!("starting thread {index}")))?;
        let ready = ready.recv().unwrap_or_else(|_| {
            Err(StartError::Config(format!(
                "worker {index} ended while it started"
            )))
        });
        let Ready { addresses, core } = match ready {
            Ok(ready) => ready,
            Err(error) => {
                // Whoever drops the mailboxes last closes them, in its own descriptor table: not there.
                let _ = thread.join();
                return Err(error);
            }
        };
        self.workers.push(RunningWorker {
            thread: Some(thread),
            core,
            stats,
        });
        Ok((addresses, go_sender))
    }

    /// Where it listens, ports resolved, in the order of [`Config::listen`].
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The engine that serves, never [`Engine::Auto`].
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.chosen.engine
    }

    /// What the kernel's io_uring has, where it serves.
    #[must_use]
    pub fn uring_features(&self) -> Option<UringFeatures> {
        self.chosen.features
    }

    /// Why io_uring is not used although it would have been preferred.
    #[must_use]
    pub fn fallback(&self) -> Option<&UringUnavailable> {
        self.chosen.fallback.as_ref()
    }

    /// The core that each worker is pinned to.
    pub fn cores(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        self.workers.iter().map(|worker| worker.core)
    }

    /// Counters summed over all workers, now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.workers
            .iter()
            .for_each(|worker| sum += &worker.stats.snapshot());
        sum
    }

    /// Sends a message to a worker.
    ///
    /// # Errors
    /// [`Full`] hands the message back when the mailbox has no room, or there is no such worker.
    pub fn post(&self, worker: usize, message: M) -> Result<(), Full<M>> {
        match self.mailboxes.get(worker) {
            Some(mailbox) => mailbox.post(message),
            None => Err(Full(message)),
        }
    }

    /// Stops accepting, flushes and closes every connection, and cuts off those that are left after
    /// `within`. Returns at once; [`Self::join`] waits. May be called again with less time.
    pub fn drain(&self, within: Duration) {
        let until = Instant::now() + within;
        self.mailboxes
            .iter()
            .for_each(|mailbox| mailbox.drain(until));
    }

    /// Where the number of each worker arrives as it ends, which without a drain it should not. May be
    /// taken once.
    pub fn take_ended(&mut self) -> Option<Receiver<usize>> {
        self.ended.take()
    }

    /// Waits until every worker has ended.
    #[must_use]
    pub fn join(mut self) -> Finished {
        let failures = self.join_workers();
        Finished {
            stats: self.stats(),
            failures,
        }
    }

    fn join_workers(&mut self) -> Vec<String> {
        let mut failures = Vec::new();
        for (index, worker) in self.workers.iter_mut().enumerate() {
            match worker.thread.take().map(JoinHandle::join) {
                None | Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => failures.push(format!("worker {index}: {error}")),
                Some(Err(_)) => failures.push(format!("worker {index} panicked")),
            }
        }
        failures
    }
}

impl<M: Send + 'static> Drop for Server<M> {
    fn drop(&mut self) {
        self.drain(Duration::ZERO);
        self.join_workers();
    }
}

/// What was chosen, and what the probe said where it was asked.
struct Chosen {
    engine: Engine,
    features: Option<UringFeatures>,
    fallback: Option<UringUnavailable>,
}

/// io_uring where it can be had, unless epoll was asked for.
fn choose_engine(asked: Engine) -> Result<Chosen, StartError> {
    let epoll = |fallback| Chosen {
        engine: Engine::Epoll,
        features: None,
        fallback,
    };
    if asked == Engine::Epoll {
        return Ok(epoll(None));
    }
    match probe::uring() {
        Ok(features) => Ok(Chosen {
            engine: Engine::Uring,
            features: Some(features),
            fallback: None,
        }),
        Err(why) if asked == Engine::Auto => Ok(epoll(Some(why))),
        Err(why) => Err(StartError::UringUnavailable(why)),
    }
}

/// A worker that is ready says where it is bound, and to which core.
struct Ready {
    addresses: Vec<SocketAddr>,
    core: Option<usize>,
}

/// The order to listen carries where to report that it was done.
type Listening = Sender<Result<(), StartError>>;

struct WorkerSetup<M> {
    index: usize,
    engine: Engine,
    listen: Vec<SocketAddr>,
    config: Arc<Config>,
    mailboxes: Arc<[Mailbox<M>]>,
    stats: Arc<WorkerStats>,
    ended: EndedNote,
}

/// Sends the worker's number when its thread ends, in whatever way.
struct EndedNote {
    worker: usize,
    sender: Sender<usize>,
}

impl Drop for EndedNote {
    fn drop(&mut self) {
        // Nobody need be listening.
        let _ = self.sender.send(self.worker);
    }
}

impl<M: Send + 'static> WorkerSetup<M> {
    /// The whole life of a worker's thread.
    fn run<S: Service<Message = M>>(
        self,
        make_service: &impl Fn(usize) -> S,
        ready: &Sender<Result<Ready, StartError>>,
        go: &Receiver<Listening>,
    ) -> std::io::Result<()> {
        let prepared = self.prepare();
        let (said, listeners) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                let _ = ready.send(Err(error));
                return Ok(());
            }
        };
        let start = Start { ready, go, said };
        let stats = Arc::clone(&self.stats);
        match self.engine {
            Engine::Epoll => {
                let driver =
                    EpollDriver::new(listeners, self.mailboxes[self.index].wake().as_fd(), stats);
                self.serve(driver, make_service, start)
            }
            Engine::Auto | Engine::Uring => {
                let driver = UringDriver::new(&self.config, listeners, stats);
                self.serve(driver, make_service, start)
            }
        }
    }

    fn prepare(&self) -> Result<(Ready, Vec<Listener>), StartError> {
        // First of all: what is opened from here on counts against this worker alone.
        thread::own_descriptor_table().map_err(StartError::os(
            "giving a worker its own descriptor table (unshare)",
        ))?;
        // Asked for before this thread is pinned to one of them.
        let steers = self.index == 0 && self.config.steering == Steering::Cpu;
        let cores = steers.then(thread::cores);
        let core = if self.config.pin {
            thread::pin_to_core(self.index)
        } else {
            None
        };
        let bind = |address: &SocketAddr| listener::bind(*address, &self.config);
        let listeners = self
            .listen
            .iter()
            .map(bind)
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(cores) = cores {
            self.steer(&listeners, &cores)?;
        }
        let addresses = listeners
            .iter()
            .map(Listener::local_address)
            .collect::<Result<_, _>>()
            .map_err(StartError::os("asking for a listener's address"))?;
        Ok((Ready { addresses, core }, listeners))
    }

    /// The first listener of each group brings the program for all that join it.
    fn steer(&self, listeners: &[Listener], cores: &[usize]) -> Result<(), StartError> {
        let workers = self.config.workers;
        let program = steering::program(cores, workers).ok_or_else(|| {
            StartError::Config(format!(
                "steering by cpu spreads workers evenly over cores, and {workers} over {} is not even; \
                 make them a multiple, or steer by hash",
                cores.len()
            ))
        })?;
        listeners
            .iter()
            .try_for_each(|listener| socket::steer(listener.as_fd(), &program))
            .map_err(StartError::os("steering by cpu (SO_ATTACH_REUSEPORT_CBPF)"))
    }

    fn serve<S: Service<Message = M>, D: Driver>(
        self,
        driver: std::io::Result<D>,
        make_service: &impl Fn(usize) -> S,
        start: Start<'_>,
    ) -> std::io::Result<()> {
        let doing = format!("setting up worker {}'s {} engine", self.index, self.engine);
        let mut driver = match driver.map_err(StartError::os(doing)) {
            Ok(driver) => driver,
            Err(error) => {
                let _ = start.ready.send(Err(error));
                return Ok(());
            }
        };
        let held = Held::new(
            self.index as u16,
            Arc::clone(&self.config),
            self.mailboxes,
            self.stats,
        );
        let service = make_service(self.index);
        let _ = start.ready.send(Ok(start.said));
        // A starter that gave up has dropped the other end.
        let Ok(listening) = start.go.recv() else {
            return Ok(());
        };
        let backlog = self.config.backlog;
        let listen = driver
            .listeners()
            .iter()
            .try_for_each(|listener| listener.listen(backlog));
        let listens = listen.is_ok();
        let _ = listening.send(listen.map_err(StartError::os("listening")));
        if !listens {
            return Ok(());
        }
        let served = WorkerLoop::new(driver, held, service).run();
        drop(self.ended);
        served
    }
}

/// A worker's side of the start-up.
struct Start<'a> {
    ready: &'a Sender<Result<Ready, StartError>>,
    go: &'a Receiver<Listening>,
    said: Ready,
}
