//! tokio as most servers are written on it: a task and a buffer per connection. Each worker is a thread with a runtime
//! of its own, so that connections never move.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io;
use std::process::ExitCode;

use contenders::{BUFFER_BYTES, Replies, Service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn main() -> ExitCode {
    contenders::run(worker)
}

fn worker(listener: std::net::TcpListener, service: Service) -> io::Result<Infallible> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(serve(stream, service)); // What fails ends this connection and nothing else.
        }
    })
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
