//! A server that accepts and does nothing else: the floor under every idle connection.

use anyhow::Context;
use roadstead_host::raise_nofile;
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;

/// Prints the line that [`crate::subject`] waits for, then accepts until it is killed.
pub(crate) fn run() -> anyhow::Result<()> {
    raise_nofile()?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(4_096)?;
    let address = socket.local_addr()?.as_socket().context("an IP address")?;
    println!("{}", serde_json::json!({ "listen": [address] }));
    let mut held = Vec::new();
    loop {
        held.push(socket.accept()?.0);
    }
}
