//! Opens, holds and drives connections against any TCP echo or frames server.
#![forbid(unsafe_code)]
