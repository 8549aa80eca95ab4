//! A request/response protocol with a limit: a 4-byte big-endian length, that many bytes of text, and the
//! same text in capitals as the answer.
//!
//! `cargo run --release -p roadstead --example frames -- 127.0.0.1:8080`

use roadstead::{CloseReason, Config, Connection, Server, Service};

const FRAME_BYTES_MAX: usize = 64 << 10;

#[derive(Default)]
struct Capitals {
    /// Reused for every answer: steady state allocates nothing.
    answer: Vec<u8>,
}

impl Service for Capitals {
    /// Requests answered; four bytes for each connection, idle ones too.
    type State = u32;
    type Message = ();

    fn data(&mut self, connection: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        let mut consumed = 0;
        // As many whole frames as there are; an unfinished one comes again with what follows it.
        while let Some((length, rest)) = bytes[consumed..].split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            if length > FRAME_BYTES_MAX {
                connection.close_for(CloseReason::ProtocolError);
                break;
            }
            let Some(text) = rest.get(..length) else {
                break;
            };
            self.answer.clear();
            self.answer
                .extend_from_slice(&bytes[consumed..consumed + 4]);
            self.answer.extend(text.iter().map(u8::to_ascii_uppercase));
            if connection.send(&self.answer).is_err() {
                break; // No room: this frame comes again when there is.
            }
            *connection.state() += 1;
            consumed += 4 + length;
        }
        consumed
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::default();
    let address = std::env::args().nth(1);
    config.listen = vec![address.as_deref().unwrap_or("127.0.0.1:8080").parse()?];
    config.carry_limit_bytes = 4 + FRAME_BYTES_MAX;
    let server = Server::start(config, |_worker| Capitals::default())?;
    println!("{} on {:?}", server.engine(), server.addresses());
    match server.join().failures.as_slice() {
        [] => Ok(()),
        failures => Err(failures.join("; ").into()),
    }
}
