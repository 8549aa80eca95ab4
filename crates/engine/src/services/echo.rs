//! Every byte comes back.

use crate::connection::Connection;
use crate::service::Service;

/// Sends back what it receives. A peer that does not read is not read from either, so what it has
/// outstanding is bounded by the outbox.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Service for Echo {
    type State = ();
    type Message = ();

    fn data(&mut self, connection: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
        let fits = bytes.len().min(connection.room_bytes());
        match connection.send(&bytes[..fits]) {
            Ok(()) => fits,
            Err(_) => 0,
        }
    }
}
