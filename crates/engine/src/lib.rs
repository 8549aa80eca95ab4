//! Holds millions of mostly idle TCP connections in one process.
//!
//! Worker threads, one per core and pinned to it, own everything they touch: a `SO_REUSEPORT` listener,
//! an io_uring with a ring of provided buffers (or an epoll instance), a table of connections. Memory
//! scales with reads and writes in flight, not with connections: an idle one costs the kernel's socket,
//! one pending poll, and 32 bytes here.
//!
//! Implement [`Service`], or take one of [`services`], and [`Server::start`] it:
//!
//! ```
//! use roadstead::{Config, Server, services::Echo};
//! use std::io::{Read, Write};
//! use std::time::Duration;
//!
//! let mut config = Config::default();
//! config.listen = vec!["127.0.0.1:0".parse()?];
//! let server = Server::start(config, |_worker| Echo)?;
//!
//! let mut peer = std::net::TcpStream::connect(server.addresses()[0])?;
//! peer.write_all(b"ahoy")?;
//! let mut reply = [0; 4];
//! peer.read_exact(&mut reply)?;
//! assert_eq!(&reply, b"ahoy");
//! drop(peer);
//!
//! server.drain(Duration::from_secs(1));
//! let finished = server.join();
//! assert!(finished.failures.is_empty());
//! assert!(finished.stats.accounts_close());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Rooms
//!
//! `worker` runs the loop; `driver` is the kernel interface behind one trait; `sys` has all the `unsafe`;
//! `table`, `outbox`, `buffers`, `deadlines`, `mailbox` and `listener` are what a worker holds; `limits`
//! has every fixed capacity. `ARCHITECTURE.md` tells how they meet.
#![deny(unsafe_code)]

mod buffers;
#[doc(hidden)]
pub mod closing;
mod config;
mod connection;
mod deadlines;
mod driver;
mod error;
mod held;
mod lifecycle;
mod limits;
mod listener;
mod mailbox;
mod outbox;
pub mod probe;
mod server;
mod service;
pub mod services;
mod slab;
mod stats;
mod steering;
mod sys;
mod table;
pub mod thread;
mod token;
mod worker;

pub use config::{Config, Engine, Keepalive, Steering, WatchPolicy};
pub use connection::{Connection, ConnectionId, SendError, Worker};
pub use error::{StartError, UringUnavailable};
pub use lifecycle::CloseReason;
pub use mailbox::Full;
pub use server::{Finished, Server};
pub use service::Service;
pub use stats::Stats;
