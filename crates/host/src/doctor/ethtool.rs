//! What only the driver of a network card tells: ring sizes and offloads, asked through ethtool.

use std::io;
use std::process::Command;

use serde::Serialize;

use crate::HostRoot;

const NET: &str = "/sys/class/net";

/// The interfaces of the host that have hardware behind them, in order; loopback, bridges and tunnels do not.
pub(super) fn cards(root: &HostRoot) -> Result<Vec<String>, crate::ReadError> {
    let mut cards = root.entries(NET)?;
    cards.retain(|name| root.path(&format!("{NET}/{name}/device")).exists());
    cards.sort();
    Ok(cards)
}

/// What the drivers tell of their cards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "are", content = "because")]
pub enum Drivers {
    /// Each card.
    Asked(Vec<Card>),
    /// None could be asked: the reason.
    NotAsked(String),
}

/// What the driver of one card tells. `None` where it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Card {
    /// The interface's name.
    pub name: String,
    /// Slots of the receive ring.
    pub receive_ring: Option<Ring>,
    /// Offloads that are off and could be on.
    pub offloads_off: Option<Vec<&'static str>>,
}

/// A ring of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ring {
    /// Slots in use.
    pub slots: u64,
    /// Slots that the card could have.
    pub slots_max: u64,
}

impl Drivers {
    /// Runs ethtool for each card of the running host.
    #[must_use]
    pub fn ask(root: &HostRoot) -> Self {
        if !root.is_live() {
            return Self::NotAsked("a directory tree has no drivers to ask".to_owned());
        }
        let cards = match cards(root) {
            Ok(cards) => cards,
            Err(error) => return Self::NotAsked(error.to_string()),
        };
        let asked: io::Result<Vec<Card>> = cards.into_iter().map(ask_card).collect();
        asked.map_or_else(
            |error| Self::NotAsked(format!("ethtool cannot be run ({error})")),
            Self::Asked,
        )
    }
}

fn ask_card(name: String) -> io::Result<Card> {
    let rings = ethtool("-g", &name)?;
    let features = ethtool("-k", &name)?;
    Ok(Card {
        receive_ring: rings.as_deref().and_then(receive_ring),
        offloads_off: features.as_deref().map(offloads_off),
        name,
    })
}

/// What ethtool prints; `None` where the driver does not support the question.
fn ethtool(question: &str, card: &str) -> io::Result<Option<String>> {
    // Debian keeps it in sbin, which is not on everybody's PATH.
    let run = |program: &str| Command::new(program).args([question, card]).output();
    let output = run("ethtool").or_else(|_| run("/usr/sbin/ethtool"))?;
    Ok(output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Two blocks with the same names: what could be, then what is.
fn receive_ring(text: &str) -> Option<Ring> {
    let mut slots = text
        .lines()
        .filter_map(|line| line.strip_prefix("RX:"))
        .map(|rest| rest.trim().parse().ok());
    let (slots_max, slots) = (slots.next()??, slots.next()??);
    Some(Ring { slots, slots_max })
}

fn offloads_off(text: &str) -> Vec<&'static str> {
    const WANTED: [(&str, &str); 3] = [
        ("tcp-segmentation-offload:", "tso"),
        ("generic-segmentation-offload:", "gso"),
        ("generic-receive-offload:", "gro"),
    ];
    let off = |label: &str| {
        let state = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(label));
        // "off [fixed]" is a card that cannot.
        state.is_some_and(|state| state.trim() == "off")
    };
    WANTED
        .into_iter()
        .filter(|(label, _)| off(label))
        .map(|(_, short)| short)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use proptest::prelude::*;

    const RINGS: &str = "Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t4096\nRX Mini:\tn/a\nTX:\t\t4096\n\
                         Current hardware settings:\nRX:\t\t512\nRX Mini:\tn/a\nTX:\t\t512\n";
    const FEATURES: &str = "Features for eth0:\nrx-checksumming: on [fixed]\ntcp-segmentation-offload: off\n\
                            \ttx-tcp-segmentation: off\ngeneric-segmentation-offload: off [fixed]\n\
                            generic-receive-offload: on\n";

    #[test]
    fn answers_are_understood() {
        assert_eq!(
            receive_ring(RINGS),
            Some(Ring {
                slots: 512,
                slots_max: 4096
            })
        );
        assert_eq!(
            offloads_off(FEATURES),
            ["tso"],
            "what is fixed cannot be changed"
        );
    }

    #[test]
    fn answers_without_numbers_tell_nothing() {
        for text in ["", "RX:\t\tn/a\nRX:\t\tn/a\n", "RX: 5\n"] {
            assert_eq!(receive_ring(text), None, "{text:?}");
        }
        assert!(offloads_off("").is_empty());
    }

    #[test]
    fn a_tree_has_no_drivers() {
        assert!(matches!(
            Drivers::ask(&Tree::with(&[]).root()),
            Drivers::NotAsked(_)
        ));
    }

    proptest! {
        #[test]
        fn no_answer_panics(text in "(RX:|[0-9]{1,20}|generic-receive-offload:|off|\n|\\PC)*") {
            let _ = (receive_ring(&text), offloads_off(&text));
        }
    }
}
