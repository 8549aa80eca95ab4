//! What this host allows, and what a connection costs it.
#![forbid(unsafe_code)]
