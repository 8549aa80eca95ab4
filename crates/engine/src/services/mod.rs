//! Two services that are complete: the simplest one, and one with frames.

mod echo;
mod frames;

pub use echo::Echo;
pub use frames::Frames;
