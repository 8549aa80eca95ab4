//! The conformance suite over every driver and watch policy.
#![forbid(unsafe_code)]
