//! monoio on io_uring: a task per connection, whose buffer is lent to the kernel with every read and every write.

#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::io;
use std::process::ExitCode;

use contenders::{BUFFER_BYTES, Replies, Service};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};

fn main() -> ExitCode {
    contenders::run(worker)
}

fn worker(listener: std::net::TcpListener, service: Service) -> io::Result<Infallible> {
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            monoio::spawn(serve(stream, service)); // What fails ends this connection and nothing else.
        }
    })
}

async fn serve(mut stream: TcpStream, service: Service) -> io::Result<()> {
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
