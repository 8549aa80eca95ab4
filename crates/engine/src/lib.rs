//! Holds millions of mostly idle TCP connections in one process.
#![deny(unsafe_code)]

mod sys;
pub mod thread;
