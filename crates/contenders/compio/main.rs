//! compio on io_uring: a task per connection, whose buffer is lent to the kernel with every read and every write.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io;
use std::process::ExitCode;

use compio::BufResult;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use compio::runtime::Runtime;
use contenders::{BUFFER_BYTES, Replies, Service};

fn main() -> ExitCode {
    contenders::run(worker)
}

fn worker(listener: std::net::TcpListener, service: Service) -> io::Result<Infallible> {
    Runtime::new()?.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            compio::runtime::spawn(serve(stream, service)).detach(); // What fails ends this connection and nothing else.
        }
    })
}

async fn serve(mut stream: TcpStream, service: Service) -> io::Result<()> {
    let mut replies = Replies::new(service);
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        let BufResult(result, received) = stream.read(buffer).await;
        buffer = received;
        if result? == 0 {
            return Ok(());
        }
        replies.in_place(&mut buffer)?;

        let BufResult(result, sent) = stream.write_all(buffer).await;
        buffer = sent;
        result?;
        buffer.clear();
    }
}
