//! Network cards: whether receive work reaches every core. Hosts with loopback only have none of this.

#[cfg(test)]
mod tests;

use crate::doctor::ethtool::{self, Card, Drivers, Ring};
use crate::doctor::finding::Finding;
use crate::doctor::rule::{Check, Examination, Group, Rule, Weight};
use crate::{HostRoot, ReadError};

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "receive queues",
        group: Group::NetworkCard,
        weight: Weight::Advised,
        role: None,
        why: "A card spreads flows over its receive queues (RSS), each served by a core. With fewer queues than cores \
              the rest is spread in software (RPS: rps_cpus). RFS remembers flows by the ten thousand: at millions of \
              them it forgets each before its next packet.",
        without: "One core takes every packet and is the ceiling, while others idle.",
        see: "ethtool -l DEV; ls /sys/class/net/DEV/queues; mpstat -P ALL 1 (soft)",
        check: Check::Inspect(receive_queues),
    },
    Rule {
        name: "transmit queues (XPS)",
        group: Group::NetworkCard,
        weight: Weight::Advised,
        role: None,
        why: "XPS (xps_cpus) gives each core a transmit queue of its own.",
        without: "Cores contend for the locks of the same queue.",
        see: "grep . /sys/class/net/DEV/queues/tx-*/xps_cpus",
        check: Check::Inspect(transmit_queues),
    },
    Rule {
        name: "interrupt affinity",
        group: Group::NetworkCard,
        weight: Weight::Advised,
        role: None,
        why: "The interrupts of the queues belong on different cores: pinned by hand, or by irqbalance.",
        without: "One core takes the interrupts of all queues.",
        see: "grep DEV /proc/interrupts; cat /proc/irq/N/smp_affinity_list; systemctl status irqbalance",
        check: Check::Inspect(interrupts),
    },
    Rule {
        name: "receive ring",
        group: Group::NetworkCard,
        weight: Weight::Advised,
        role: None,
        why: "Slots in which a card keeps packets until the kernel takes them: room for a burst, such as a fleet that \
              reconnects.",
        without: "Bursts are dropped by the card, and counted only by it (ethtool -S).",
        see: "ethtool -g DEV; ethtool -S DEV | grep -i drop",
        check: Check::Inspect(receive_ring),
    },
    Rule {
        name: "offloads",
        group: Group::NetworkCard,
        weight: Weight::Advised,
        role: None,
        why: "Segmentation and receive offload let TCP handle many packets as one.",
        without: "Each packet goes through TCP on its own: several times the CPU time for busy connections.",
        see: "ethtool -k DEV",
        check: Check::Inspect(offloads),
    },
];

const NET: &str = "/sys/class/net";

/// Judges each card; the worst is the finding. Interfaces without hardware (lo, bridges, tunnels) are no cards.
fn each_card(
    e: &Examination<'_>,
    judge: impl Fn(&HostRoot, &str) -> Result<String, Concern>,
) -> Finding {
    let cards = match ethtool::cards(e.root) {
        Ok(cards) => cards,
        Err(error) => return Finding::unreadable(&error),
    };
    let mut good = Vec::new();
    for card in &cards {
        match judge(e.root, card) {
            Ok(text) => good.push(format!("{card}: {text}")),
            Err(Concern::Unread(why)) => return Finding::unknown(format!("{card}: {why}")),
            Err(Concern::Short { current, fix }) => {
                return Finding::raise(format!("{card}: {current}"), fix);
            }
        }
    }
    match good.as_slice() {
        [] => Finding::absent("no network card"),
        _ => Finding::ok(good.join(", ")),
    }
}

/// What is wrong with a card.
enum Concern {
    /// A value cannot be read or understood.
    Unread(String),
    /// It can be better.
    Short { current: String, fix: String },
}

/// The queues of `card` whose names start with `kind`, with the mask in `file` of each.
fn queues(
    root: &HostRoot,
    card: &str,
    kind: &str,
    file: &str,
) -> Result<Vec<(String, bool)>, Concern> {
    let dir = format!("{NET}/{card}/queues");
    let mut names = root
        .entries(&dir)
        .map_err(|error| Concern::Unread(error.to_string()))?;
    names.retain(|name| name.starts_with(kind));
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let mask = match root.read(&format!("{dir}/{name}/{file}")) {
                Ok(mask) => mask,
                // A kernel that cannot steer has no mask.
                Err(ReadError::Missing { .. }) => return Ok((name, false)),
                Err(error) => return Err(Concern::Unread(error.to_string())),
            };
            let digits = mask.trim();
            if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_hexdigit() || c == ',') {
                return Err(Concern::Unread(format!("{name}/{file} holds {digits:?}")));
            }
            Ok((name, digits.chars().any(|c| c != '0' && c != ',')))
        })
        .collect()
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

/// A CPU mask with the first `cores` bits set, in the kernel's groups of 32.
fn mask_of(cores: u32) -> String {
    let (full, rest) = (cores / 32, cores % 32);
    let mut words = if rest > 0 {
        vec![format!("{:x}", (1u64 << rest) - 1)]
    } else {
        vec![]
    };
    words.extend((0..full).map(|_| "ffffffff".to_owned()));
    words.join(",")
}

fn receive_queues(e: &Examination<'_>) -> Finding {
    let cores = e.facts.limits.cores;
    each_card(e, |root, card| {
        let queues = queues(root, card, "rx-", "rps_cpus")?;
        let spread = queues.iter().filter(|(_, masked)| *masked).count();
        if queues.len() >= cores as usize {
            return Ok(counted(queues.len(), "queue"));
        }
        if !queues.is_empty() && spread == queues.len() {
            return Ok(format!("{}, spread by RPS", counted(queues.len(), "queue")));
        }
        let mask = mask_of(cores);
        Err(Concern::Short {
            current: format!("{} for {cores} cores, no RPS", counted(queues.len(), "queue")),
            fix: format!("ethtool -L {card} combined {cores}; else echo {mask} > {NET}/{card}/queues/rx-N/rps_cpus"),
        })
    })
    .needing(format!("{cores} queues, or RPS"))
}

fn transmit_queues(e: &Examination<'_>) -> Finding {
    each_card(e, |root, card| {
        let queues = queues(root, card, "tx-", "xps_cpus")?;
        let mapped = queues.iter().filter(|(_, masked)| *masked).count();
        if queues.len() < 2 || mapped == queues.len() {
            return Ok(counted(queues.len(), "queue"));
        }
        Err(Concern::Short {
            current: format!("{mapped} of {} queues mapped", queues.len()),
            fix: format!("echo MASK > {NET}/{card}/queues/tx-N/xps_cpus, one core each"),
        })
    })
}

fn interrupts(e: &Examination<'_>) -> Finding {
    let table = match e.root.read("/proc/interrupts") {
        Ok(table) => table,
        Err(error) => return Finding::unreadable(&error),
    };
    let cores = e.facts.limits.cores;
    each_card(e, |root, card| {
        let numbers = irqs_of(root, card, &table);
        let mut places: Vec<String> = Vec::new();
        for number in &numbers {
            let path = format!("/proc/irq/{number}/smp_affinity_list");
            let list = root
                .read(&path)
                .map_err(|error| Concern::Unread(error.to_string()))?;
            places.push(list.trim().to_owned());
        }
        let one_place = places.len() > 1 && places.iter().all(|place| *place == places[0]);
        let single_core = places
            .first()
            .is_some_and(|place| place.parse::<u32>().is_ok());
        if cores > 1 && one_place && single_core {
            let fix = "systemctl enable --now irqbalance, or write a core to each /proc/irq/N/smp_affinity_list";
            return Err(Concern::Short {
                current: format!("{} interrupts, all on core {}", places.len(), places[0]),
                fix: fix.to_owned(),
            });
        }
        let balanced = if irqbalance_runs(root) {
            ", irqbalance runs"
        } else {
            ""
        };
        Ok(format!("{}{balanced}", counted(places.len(), "interrupt")))
    })
}

fn irqbalance_runs(root: &HostRoot) -> bool {
    let processes = root.entries("/proc").unwrap_or_default();
    let mut numbered = processes
        .iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    numbered.any(|pid| {
        root.read(&format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.trim() == "irqbalance")
    })
}

/// Receive slots that take a burst of a fleet that reconnects.
const RING_SLOTS: u64 = 1024;

fn receive_ring(e: &Examination<'_>) -> Finding {
    each_driver(e, |card| {
        let Some(Ring { slots, slots_max }) = card.receive_ring else {
            return Ok("no figure".to_owned());
        };
        if slots >= RING_SLOTS.min(slots_max) {
            return Ok(format!("{slots} of {slots_max} slots"));
        }
        Err(Concern::Short {
            current: format!("{slots} of {slots_max} slots"),
            fix: format!("ethtool -G {} rx {}", card.name, slots_max),
        })
    })
    .needing(format!("≥ {RING_SLOTS}, or the card's most"))
}

fn offloads(e: &Examination<'_>) -> Finding {
    each_driver(e, |card| match card.offloads_off.as_deref() {
        None => Ok("no answer".to_owned()),
        Some([]) => Ok("on".to_owned()),
        Some(off) => {
            let switches: Vec<String> = off.iter().map(|name| format!("{name} on")).collect();
            let fix = format!("ethtool -K {} {}", card.name, switches.join(" "));
            Err(Concern::Short {
                current: format!("off: {}", off.join(", ")),
                fix,
            })
        }
    })
    .needing("on")
}

fn each_driver(e: &Examination<'_>, judge: impl Fn(&Card) -> Result<String, Concern>) -> Finding {
    each_card(e, |_, name| match &e.facts.drivers {
        Drivers::NotAsked(why) => Err(Concern::Unread(why.clone())),
        Drivers::Asked(cards) => match cards.iter().find(|card| card.name == name) {
            Some(card) => judge(card),
            None => Err(Concern::Unread(
                "came up while the doctor was looking".to_owned(),
            )),
        },
    })
}

/// The interrupts of a card: by the device's own list, else by its name in the table.
fn irqs_of(root: &HostRoot, card: &str, table: &str) -> Vec<String> {
    if let Ok(names) = root.entries(&format!("{NET}/{card}/device/msi_irqs")) {
        let mut listed: Vec<String> = names
            .into_iter()
            .filter(|number| root.path(&format!("/proc/irq/{number}")).exists())
            .collect();
        listed.sort();
        return listed;
    }
    let of_card = |line: &&str| {
        line.split_whitespace()
            .next_back()
            .is_some_and(|name| name == card || name.starts_with(&format!("{card}-")))
    };
    let number = |line: &str| Some(line.trim_start().split_once(':')?.0.to_owned());
    table
        .lines()
        .filter(of_card)
        .filter_map(number)
        .filter(|n| n.parse::<u32>().is_ok())
        .collect()
}
