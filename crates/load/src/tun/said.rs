//! What the server prints: passed on line by line to where our progress goes, and searched for its counters.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdout;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long after the server's end its output is waited for: another process may hold it open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The server's standard output.
pub(super) struct Said {
    /// Objects with counters, as they are printed; closed with the output.
    counters: Receiver<Value>,
}

impl Said {
    /// Its output is not our report: it goes to standard error.
    pub(super) fn pass_on(output: ChildStdout) -> Self {
        let (sender, counters) = channel();
        // Ends with the output.
        std::thread::spawn(move || {
            let mut line = Vec::new();
            let mut output = BufReader::new(output);
            while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
                // Whether anybody reads it or not, it has to be taken, or the server would wait for us.
                let _ = std::io::stderr().write_all(&line);
                if let Some(counters) = counters_in(&line) {
                    let _ = sender.send(counters);
                }
                line.clear();
            }
        });
        Self { counters }
    }

    /// Waits for the end of the output; returns the last counters in it.
    pub(super) fn hear_out(self) -> Option<Value> {
        std::iter::from_fn(|| self.counters.recv_timeout(LAST_WORDS).ok()).last()
    }
}

/// The object that `roadstead serve --json` prints on SIGUSR1 and at its end.
fn counters_in(line: &[u8]) -> Option<Value> {
    let said: Value = serde_json::from_slice(line).ok()?;
    let is_it = said.get("counters").is_some() && said.get("accounts_close").is_some();
    is_it.then_some(said)
}
