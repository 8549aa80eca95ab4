//! Laggards: what they leave undone in the idle phase, and how they catch up when the traffic is over.

use super::super::connection::State;
use super::super::laggards::Lag;
use super::ClientThread;
use crate::phase::Phase;

/// Where a thread's laggards are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    NotYet,
    Behind,
    CaughtUp,
}

impl ClientThread<'_> {
    /// Half a frame, or whole messages whose replies stay where they are.
    pub(super) fn fall_behind(&mut self) {
        let Some(laggards) = self.plan.settings.laggards else {
            return;
        };
        if self.lagging != Stage::NotYet {
            return;
        }
        self.lagging = Stage::Behind;
        for index in self.laggards() {
            match laggards.lag {
                Lag::HalfSent => self.connections[index].queued += self.half_message(),
                Lag::Unread { messages } => {
                    self.connections[index].reads = false;
                    self.queue(index, messages as u64);
                }
            }
            self.send(index);
        }
    }

    /// The rest of the frame, or all replies.
    pub(super) fn catch_up(&mut self, phase: Phase) {
        let Some(laggards) = self.plan.settings.laggards else {
            return;
        };
        if self.lagging != Stage::Behind {
            return;
        }
        self.lagging = Stage::CaughtUp;
        for index in self.laggards() {
            match laggards.lag {
                Lag::HalfSent => {
                    self.connections[index].queued -= self.half_message();
                    self.queue(index, 1);
                    self.send(index);
                }
                Lag::Unread { .. } => {
                    self.connections[index].reads = true;
                    self.receive(phase, index, false);
                }
            }
        }
    }

    fn half_message(&self) -> u64 {
        self.tape.message_bytes() as u64 / 2
    }

    /// This thread's: the first of its open connections that are not active.
    fn laggards(&self) -> Vec<usize> {
        let laggards = self.plan.settings.laggards;
        let count = laggards.map_or(0, |laggards| self.share.of(laggards.connections));
        let free = |index: &usize| self.agenda.turns.slot_of(*index).is_none();
        (0..self.connections.len())
            .filter(free)
            .take(count)
            .filter(|index| self.connections[*index].state == State::Established)
            .collect()
    }
}
