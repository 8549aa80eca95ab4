//! The smallest server: sends back what it receives, on every core, until it is interrupted.
//!
//! `cargo run --release -p roadstead --example echo -- 127.0.0.1:8080`

use roadstead::{Config, Connection, Server, Service};

/// One per worker; it has no state of its own and keeps none per connection.
struct Echo;

impl Service for Echo {
    type State = ();
    type Message = ();

    fn data(&mut self, connection: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        // Takes only what can be sent back: the rest comes again when there is room.
        let fits = bytes.len().min(connection.room_bytes());
        match connection.send(&bytes[..fits]) {
            Ok(()) => fits,
            Err(_) => 0,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::default();
    let address = std::env::args().nth(1);
    config.listen = vec![address.as_deref().unwrap_or("127.0.0.1:8080").parse()?];
    let server = Server::start(config, |_worker| Echo)?;
    println!("{} on {:?}", server.engine(), server.addresses());
    match server.join().failures.as_slice() {
        [] => Ok(()),
        failures => Err(failures.join("; ").into()),
    }
}
