//! glommio: a task and a buffer per connection, an executor per thread. Its own sleep for input is a poll through
//! io_uring, then a read. Executors are not pinned, so that they stay within the CPUs the process was given.

#![deny(unsafe_code)]

use std::convert::Infallible;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::process::ExitCode;

use contenders::{BUFFER_BYTES, Replies, Service};
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};

fn main() -> ExitCode {
    contenders::run(worker)
}

fn worker(listener: std::net::TcpListener, service: Service) -> io::Result<Infallible> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make()?;
    executor.run(async {
        let listener = adopt(listener);
        loop {
            let stream = listener.accept().await?;
            glommio::spawn_local(serve(stream, service)).detach(); // What fails ends this connection and nothing else.
        }
    })
}

/// Its own `bind` has no say in the backlog or in TCP_NODELAY, and it takes a listener only as a number.
#[allow(unsafe_code)]
fn adopt(listener: std::net::TcpListener) -> TcpListener {
    // SAFETY:
    // - an open listening socket → it was one until the line below took the descriptor out
    // - one owner → `into_raw_fd` gave it up
    unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) }
}

async fn serve(mut stream: TcpStream, service: Service) -> io::Result<()> {
    let mut replies = Replies::new(service);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read_bytes = stream.read(&mut buffer).await?;
        if read_bytes == 0 {
            return Ok(());
        }
        stream.write_all(replies.to(&buffer[..read_bytes])?).await?;
    }
}
