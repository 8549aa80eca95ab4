//! The list of everything that must behave alike.

use crate::harness::Harness;
use roadstead::{Config, Engine, Service, WatchPolicy};
use std::time::Duration;

/// One way to run a server: the kernel interface, how it watches connections, what it reads into.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub(crate) engine: Engine,
    watch: WatchPolicy,
    buffers: u16,
    buffer_bytes: u32,
}

impl Setup {
    /// The baseline.
    pub const EPOLL: Self = Self {
        engine: Engine::Epoll,
        ..Self::uring(WatchPolicy::Poll)
    };
    /// io_uring, one-shot polls.
    pub const URING_POLL: Self = Self::uring(WatchPolicy::Poll);
    /// io_uring, multishot polls.
    pub const URING_POLL_MULTI: Self = Self::uring(WatchPolicy::PollMulti);
    /// io_uring, epoll interests.
    pub const URING_EPOLL: Self = Self::uring(WatchPolicy::Epoll);
    /// io_uring, multishot reads.
    pub const URING_RECV: Self = Self::uring(WatchPolicy::Recv);
    /// io_uring, multishot reads for connections that are busy.
    pub const URING_ADAPTIVE: Self = Self::uring(WatchPolicy::Adaptive);

    const fn uring(watch: WatchPolicy) -> Self {
        Self {
            engine: Engine::Uring,
            watch,
            buffers: 64,
            buffer_bytes: 4096,
        }
    }

    /// The same with two read buffers of 128 bytes, so that running out is the rule.
    #[must_use]
    pub const fn tiny(self) -> Self {
        Self {
            buffers: 2,
            buffer_bytes: 128,
            ..self
        }
    }

    /// Whether connections that are busy are watched in another way than quiet ones.
    #[must_use]
    pub fn adapts(self) -> bool {
        self.engine == Engine::Uring && self.watch == WatchPolicy::Adaptive
    }

    /// A configuration for one worker on a free loopback port.
    #[must_use]
    pub fn config(self) -> Config {
        let mut config = Config::default();
        config.listen = vec![([127, 0, 0, 1], 0).into()];
        config.engine = self.engine;
        config.watch = self.watch;
        config.buffers = self.buffers;
        config.buffer_bytes = self.buffer_bytes;
        config.workers = 1;
        // The peers run on the same cores.
        config.pin = false;
        // Longer than any test takes: what closes earlier was closed for another reason.
        config.linger_timeout = Duration::from_secs(60);
        config.write_stall_timeout = Duration::from_secs(60);
        config
    }

    /// Starts a server with this service.
    #[must_use]
    pub fn serve<S: Service + Clone + Send + Sync>(self, service: S) -> Harness<S::Message> {
        self.serve_with(service, |_| {})
    }

    /// Starts a server with this service, configured further.
    #[must_use]
    pub fn serve_with<S: Service + Clone + Send + Sync>(
        self,
        service: S,
        configure: impl FnOnce(&mut Config),
    ) -> Harness<S::Message> {
        let mut config = self.config();
        configure(&mut config);
        Harness::start(config, service)
    }
}

/// Makes a `#[test]` of each function for each [`Setup`]: `echo::uring_recv_tiny` and so on.
///
/// The functions take one `Setup`. With `plain` in front, setups with tiny buffer rings are left out,
/// for promises that do not depend on reading much.
#[macro_export]
macro_rules! on_every_setup {
    (plain: $($promise:ident),+ $(,)?) => {$(
        mod $promise {
            $crate::on_every_setup! { @test $promise
                epoll = EPOLL,
                uring_poll = URING_POLL,
                uring_poll_multi = URING_POLL_MULTI,
                uring_epoll = URING_EPOLL,
                uring_recv = URING_RECV,
                uring_adaptive = URING_ADAPTIVE,
            }
        }
    )+};
    ($($promise:ident),+ $(,)?) => {$(
        mod $promise {
            $crate::on_every_setup! { @test $promise
                epoll = EPOLL,
                uring_poll = URING_POLL,
                uring_poll_multi = URING_POLL_MULTI,
                uring_epoll = URING_EPOLL,
                uring_recv = URING_RECV,
                uring_adaptive = URING_ADAPTIVE,
            }
            $crate::on_every_setup! { @tiny $promise
                uring_poll_tiny = URING_POLL,
                uring_poll_multi_tiny = URING_POLL_MULTI,
                uring_epoll_tiny = URING_EPOLL,
                uring_recv_tiny = URING_RECV,
                uring_adaptive_tiny = URING_ADAPTIVE,
            }
        }
    )+};
    (@test $promise:ident $($name:ident = $setup:ident,)+) => {$(
        #[test]
        fn $name() {
            super::$promise($crate::Setup::$setup);
        }
    )+};
    (@tiny $promise:ident $($name:ident = $setup:ident,)+) => {$(
        #[test]
        fn $name() {
            super::$promise($crate::Setup::$setup.tiny());
        }
    )+};
}
