//! The kernel's own objects: what sockets, files and io_uring requests cost in slab memory.
//!
//! A snapshot before and one after opening N connections, subtracted and divided by N, is the price of a
//! connection in the kernel. Only root may read `/proc/slabinfo`; others get the total that `/proc/meminfo`
//! tells, which counts whole pages, and the source is named with every figure.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::memory::field_bytes;
use crate::{HostRoot, ReadError};

const SLABINFO_PATH: &str = "/proc/slabinfo";
const MEMINFO_PATH: &str = "/proc/meminfo";

/// Where a slab figure comes from, which decides what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlabSource {
    /// `/proc/slabinfo`: active objects times their size, cache by cache. Needs root.
    Slabinfo,
    /// The `Slab:` line of `/proc/meminfo`: whole pages, all caches together.
    Meminfo,
}

impl fmt::Display for SlabSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slabinfo => "slabinfo, object sizes",
            Self::Meminfo => "meminfo, whole pages (slabinfo needs root)",
        })
    }
}

/// One cache of the kernel's slab allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CacheUse {
    /// Objects in use.
    pub active_objects: u64,
    /// The size of each.
    pub object_bytes: u64,
    /// How many share one slab.
    pub objects_per_slab: u64,
}

/// The slab memory of the host at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct SlabSnapshot {
    /// What the total counts.
    pub source: SlabSource,
    /// All caches together.
    pub total_bytes: u64,
    /// By cache; empty where the source does not tell.
    pub caches: BTreeMap<String, CacheUse>,
}

impl SlabSnapshot {
    /// Takes the best source that this user may read.
    pub fn read(root: &HostRoot) -> Result<Self, ReadError> {
        match root.read(SLABINFO_PATH) {
            Ok(text) => {
                parse_slabinfo(&text).ok_or_else(|| ReadError::garbled(SLABINFO_PATH, &text))
            }
            Err(_) => Self::from_meminfo(root),
        }
    }

    fn from_meminfo(root: &HostRoot) -> Result<Self, ReadError> {
        let text = root.read(MEMINFO_PATH)?;
        let total_bytes =
            field_bytes(&text, "Slab:").ok_or_else(|| ReadError::garbled(MEMINFO_PATH, &text))?;
        Ok(Self {
            source: SlabSource::Meminfo,
            total_bytes,
            caches: BTreeMap::new(),
        })
    }

    /// What has been added since `earlier`.
    pub fn growth_since(&self, earlier: &Self) -> Result<SlabGrowth, SourcesDiffer> {
        if self.source != earlier.source {
            return Err(SourcesDiffer);
        }
        let mut caches = BTreeMap::new();
        for name in self.caches.keys().chain(earlier.caches.keys()) {
            let delta = cache_bytes(&self.caches, name) - cache_bytes(&earlier.caches, name);
            if delta != 0 {
                caches.insert(name.clone(), clamp(delta));
            }
        }
        let total_bytes = clamp(i128::from(self.total_bytes) - i128::from(earlier.total_bytes));
        Ok(SlabGrowth {
            source: self.source,
            total_bytes,
            caches,
        })
    }
}

fn cache_bytes(caches: &BTreeMap<String, CacheUse>, name: &str) -> i128 {
    caches.get(name).map_or(0, |cache| {
        i128::from(cache.active_objects) * i128::from(cache.object_bytes)
    })
}

fn clamp(bytes: i128) -> i64 {
    i64::try_from(bytes).unwrap_or(if bytes < 0 { i64::MIN } else { i64::MAX })
}

/// What one snapshot has over an earlier one. Negative where memory was given back.
#[derive(Clone, Debug, Serialize)]
pub struct SlabGrowth {
    /// What the figures count.
    pub source: SlabSource,
    /// All caches together.
    pub total_bytes: i64,
    /// The caches that changed; empty where the source does not tell.
    pub caches: BTreeMap<String, i64>,
}

impl SlabGrowth {
    /// The growth shared out over `connections`; `None` for none.
    #[must_use]
    pub fn per_connection_bytes(&self, connections: u64) -> Option<f64> {
        (connections > 0).then(|| self.total_bytes as f64 / connections as f64)
    }
}

/// One snapshot counts objects and the other pages: there is no difference to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcesDiffer;

impl fmt::Display for SourcesDiffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the slab snapshots come from different files: take both as the same user")
    }
}

impl std::error::Error for SourcesDiffer {}

/// `name active_objs num_objs objsize objperslab …`, after two lines of heading.
fn parse_slabinfo(text: &str) -> Option<SlabSnapshot> {
    let mut caches = BTreeMap::new();
    let mut total_bytes = 0u64;
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("slabinfo"))
    {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let active_objects: u64 = words.next()?.parse().ok()?;
        let object_bytes: u64 = words.nth(1)?.parse().ok()?;
        let objects_per_slab: u64 = words.next()?.parse().ok()?;
        total_bytes = total_bytes.checked_add(active_objects.checked_mul(object_bytes)?)?;
        caches.insert(
            name.to_owned(),
            CacheUse {
                active_objects,
                object_bytes,
                objects_per_slab,
            },
        );
    }
    (!caches.is_empty()).then_some(SlabSnapshot {
        source: SlabSource::Slabinfo,
        total_bytes,
        caches,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use proptest::prelude::*;

    const HEADING: &str =
        "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize> <objperslab>\n";

    fn slabinfo(tcp: u64, io_kiocb: u64) -> String {
        format!(
            "{HEADING}TCP {tcp} {tcp} 2368 13 8 : tunables 0 0 0 : slabdata 1 1 0\n\
             io_kiocb {io_kiocb} {io_kiocb} 256 16 1 : tunables 0 0 0 : slabdata 1 1 0\n\
             dentry 10 20 192 21 1 : tunables 0 0 0 : slabdata 1 1 0\n"
        )
    }

    fn snapshot(files: &[(&str, &str)]) -> Result<SlabSnapshot, ReadError> {
        SlabSnapshot::read(&Tree::with(files).root())
    }

    #[test]
    fn growth_is_told_by_cache_and_per_connection() {
        let before = snapshot(&[(SLABINFO_PATH, &slabinfo(5, 0))]).unwrap();
        let after = snapshot(&[(SLABINFO_PATH, &slabinfo(1005, 1000))]).unwrap();
        assert_eq!(before.total_bytes, 5 * 2368 + 10 * 192);
        let growth = after.growth_since(&before).unwrap();
        assert_eq!(
            growth.caches,
            BTreeMap::from([("TCP".into(), 2_368_000), ("io_kiocb".into(), 256_000)])
        );
        assert_eq!(growth.total_bytes, 2_624_000);
        assert_eq!(growth.per_connection_bytes(1000), Some(2624.0));
        assert_eq!(growth.per_connection_bytes(0), None);
        assert_eq!(before.growth_since(&after).unwrap().total_bytes, -2_624_000);
    }

    #[test]
    fn a_user_without_slabinfo_gets_the_total_of_meminfo() {
        let snapshot = snapshot(&[(MEMINFO_PATH, "MemTotal: 9 kB\nSlab:  2048 kB\n")]).unwrap();
        assert_eq!(
            (snapshot.source, snapshot.total_bytes),
            (SlabSource::Meminfo, 2 << 20)
        );
        assert!(snapshot.caches.is_empty());
    }

    #[test]
    fn figures_of_different_sources_are_not_subtracted() {
        let root = snapshot(&[(SLABINFO_PATH, &slabinfo(5, 0))]).unwrap();
        let user = snapshot(&[(MEMINFO_PATH, "Slab: 1 kB\n")]).unwrap();
        assert_eq!(root.growth_since(&user).unwrap_err(), SourcesDiffer);
    }

    #[test]
    fn a_garbled_slabinfo_is_an_error_not_a_zero() {
        for text in [
            "",
            HEADING,
            "TCP five 5 2368\n",
            "TCP 5\n",
            "TCP 18446744073709551615 1 2368 13\n",
        ] {
            let read = snapshot(&[(SLABINFO_PATH, text), (MEMINFO_PATH, "Slab: 1 kB\n")]);
            assert!(matches!(read, Err(ReadError::Garbled { .. })), "{text:?}");
        }
    }

    #[test]
    fn this_host_tells_a_figure() {
        let snapshot = SlabSnapshot::read(&HostRoot::live()).unwrap();
        assert!(snapshot.total_bytes > 0);
    }

    proptest! {
        #[test]
        fn no_content_panics(text in "([a-z]+ [0-9]{1,20} [0-9]+ [0-9]{1,20} [0-9]{1,20}\n|\\PC)*") {
            if let Some(snapshot) = parse_slabinfo(&text) {
                prop_assert_eq!(snapshot.growth_since(&snapshot).unwrap().total_bytes, 0);
            }
        }
    }
}
