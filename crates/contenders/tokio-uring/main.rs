//! tokio-uring: a task per connection, whose buffer is lent to the kernel with every read and every write.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io;
use std::process::ExitCode;

use contenders::{BUFFER_BYTES, Replies, Service};
use tokio_uring::net::{TcpListener, TcpStream};

fn main() -> ExitCode {
    contenders::run(worker)
}

fn worker(listener: std::net::TcpListener, service: Service) -> io::Result<Infallible> {
    tokio_uring::start(async {
        let listener = TcpListener::from_std(listener);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio_uring::spawn(serve(stream, service)); // What fails ends this connection and nothing else.
        }
    })
}

async fn serve(stream: TcpStream, service: Service) -> io::Result<()> {
    let mut replies = Replies::new(service);
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let (result, received) = stream.read(buffer).await;
        buffer = received;
        if result? == 0 {
            return Ok(());
        }
        replies.in_place(&mut buffer)?;

        let (result, sent) = stream.write_all(buffer).await;
        buffer = sent;
        result?;
        buffer.clear();
    }
}
