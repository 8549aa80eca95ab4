//! What a server does with its connections: the trait to implement.

use crate::connection::{Connection, ConnectionId, Worker};
use crate::lifecycle::CloseReason;

/// A protocol, served by every worker with an instance of its own.
///
/// Calls come from one thread, one at a time; nothing here is shared, locked or awaited. A call that
/// blocks stalls every connection of its worker.
///
/// ```
/// use roadstead::{Connection, Service};
///
/// /// Answers each line with its length.
/// struct LineLengths;
///
/// impl Service for LineLengths {
///     type State = ();
///     type Message = ();
///
///     fn data(&mut self, connection: &mut Connection<'_, Self>, bytes: &[u8]) -> usize {
///         let mut consumed = 0;
///         while let Some(len) = bytes[consumed..].iter().position(|byte| *byte == b'\n') {
///             if connection.send(format!("{len}\n").as_bytes()).is_err() {
///                 break; // No room: called again when there is.
///             }
///             consumed += len + 1;
///         }
///         consumed
///     }
/// }
/// ```
pub trait Service: Sized + 'static {
    /// What the service keeps for each connection, idle ones too: every byte counts, and `()` is free.
    type State: Default + 'static;

    /// What workers, and the process around them, send to a worker.
    type Message: Send + 'static;

    /// A connection was accepted.
    fn open(&mut self, connection: &mut Connection<'_, Self>) {
        let _ = connection;
    }

    /// Bytes have arrived. Returns how many of them were consumed, from the front.
    ///
    /// The rest is kept and comes again, at the front of `bytes`, once more have arrived; or, if the
    /// connection is paused or congested, once it no longer is. A rest longer than
    /// [`carry_limit_bytes`](crate::Config::carry_limit_bytes) closes the connection.
    fn data(&mut self, connection: &mut Connection<'_, Self>, bytes: &[u8]) -> usize;

    /// The peer has finished sending, and all of it was given to `data`. Closes by default.
    fn end(&mut self, connection: &mut Connection<'_, Self>) {
        connection.close();
    }

    /// A congested connection has room again.
    fn writable(&mut self, connection: &mut Connection<'_, Self>) {
        let _ = connection;
    }

    /// A message for this worker has arrived.
    fn message(&mut self, worker: &mut Worker<'_, Self>, message: Self::Message) {
        let _ = (worker, message);
    }

    /// A connection has ended; its id names nothing any more.
    fn closed(&mut self, id: ConnectionId, state: Self::State, reason: CloseReason) {
        let _ = (id, state, reason);
    }
}
