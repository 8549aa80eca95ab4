//! The roadstead binary.
#![forbid(unsafe_code)]
