//! What the contenders written in Rust share, so that each one's own file holds nothing but its foundation's way of
//! serving: arguments, listening sockets with the same options, one thread per worker, and what to answer.

#![forbid(unsafe_code)]

mod replies;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

pub use replies::{Replies, Service};

/// Bytes of the buffer that every connection reads into.
pub const BUFFER_BYTES: usize = 4 << 10;

/// Connections that the kernel may hold for a listener until they are accepted.
const BACKLOG: i32 = 4096;

/// What a worker does with its listener; only an error ends it.
pub type Worker = fn(TcpListener, Service) -> io::Result<Infallible>;

#[derive(Debug, Parser)]
struct Arguments {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// What to answer.
    #[arg(long, value_enum, default_value_t)]
    service: Service,
    /// Threads that serve, each with its own listener.
    #[arg(long, default_value = "1")]
    workers: NonZero<usize>,
}

/// Listens as the arguments say, tells it on stdout, and runs `worker` once per thread.
#[must_use]
pub fn run(worker: Worker) -> ExitCode {
    let arguments = Arguments::parse();
    let Err(error) = serve(&arguments, worker);
    eprintln!("{error}");
    ExitCode::FAILURE
}

fn serve(arguments: &Arguments, worker: Worker) -> io::Result<Infallible> {
    raise_descriptor_limit()?;
    let shared = arguments.workers.get() > 1;
    let first = listen(arguments.listen, shared)?;
    let address = first.local_addr()?;
    let others = (1..arguments.workers.get())
        .map(|_| listen(address, shared))
        .collect::<io::Result<Vec<_>>>()?;

    println!(r#"{{"listen":["{address}"]}}"#);
    let service = arguments.service;
    for listener in others {
        thread::Builder::new()
            .name("worker".into())
            .spawn(move || {
                let Err(error) = worker(listener, service);
                eprintln!("{error}");
                std::process::exit(1);
            })?;
    }
    // With one worker all that serves runs on the main thread.
    worker(first, service)
}

/// Accepted sockets inherit TCP_NODELAY. The listener blocks, as io_uring wants it.
fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn raise_descriptor_limit() -> io::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?)
}
