//! Which line of `/proc/slabinfo` counts which kind of object.
//!
//! SLUB merges caches whose objects have the same size and flags, and slabinfo has one line for them all, under
//! the name of the one that was made first: on Debian's 6.1 io_uring's requests are counted as `filp`, epoll's
//! interests as `pid`. `/sys/kernel/slab` tells: the names of merged caches are links to the same folder there.

use std::collections::BTreeMap;

use super::object::Object;
use crate::{CacheUse, HostRoot, ReadError, SlabSnapshot, SlabSource};

const SLAB_FOLDER: &str = "/sys/kernel/slab";

/// The slab caches of the host, and which of them are merged.
pub(super) struct Caches {
    snapshot: Result<SlabSnapshot, ReadError>,
    /// The folder that each name links to.
    links: BTreeMap<String, String>,
}

/// The line that counts a kind of object.
pub(super) struct FoundCache<'a> {
    /// Its name in slabinfo.
    pub(super) name: &'a str,
    pub(super) usage: CacheUse,
    /// Other names under which the same line is used.
    pub(super) shared_with: Vec<String>,
}

impl Caches {
    pub(super) fn read(root: &HostRoot) -> Self {
        let names = root.entries(SLAB_FOLDER).unwrap_or_default();
        let links = names.into_iter().filter_map(|name| {
            let target = root.link(&format!("{SLAB_FOLDER}/{name}")).ok()?;
            Some((name, target))
        });
        Self {
            snapshot: SlabSnapshot::read(root),
            links: links.collect(),
        }
    }

    pub(super) fn source(&self) -> Option<SlabSource> {
        self.snapshot.as_ref().ok().map(|snapshot| snapshot.source)
    }

    /// Whether a cache that is not found is not there.
    pub(super) fn tell_merging(&self) -> bool {
        !self.links.is_empty()
    }

    /// The line that counts these objects, if there is one.
    pub(super) fn of(&self, object: Object) -> Option<FoundCache<'_>> {
        let caches = &self.snapshot.as_ref().ok()?.caches;
        let cache = object.cache();
        let merged: Vec<&String> = match self.links.get(cache) {
            Some(target) => self
                .links
                .iter()
                .filter(|(_, other)| *other == target)
                .map(|(name, _)| name)
                .collect(),
            None => Vec::new(),
        };
        let names = std::iter::once(cache).chain(merged.iter().map(|name| name.as_str()));
        let (name, usage) = names.filter_map(|name| caches.get_key_value(name)).next()?;
        let others = merged.iter().filter(|name| name.as_str() != cache);
        Some(FoundCache {
            name,
            usage: *usage,
            shared_with: others.map(|name| (*name).clone()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    const SLABINFO: &str = "slabinfo - version: 2.1\n\
        TCP 100 130 2368 13 8 : tunables 0 0 0 : slabdata 10 10 0\n\
        pid 500 512 128 32 1 : tunables 0 0 0 : slabdata 16 16 0\n";

    fn debian() -> Tree {
        let tree = Tree::with(&[("/proc/slabinfo", SLABINFO)]);
        tree.link("/sys/kernel/slab/pid", ":A-0000128");
        tree.link("/sys/kernel/slab/eventpoll_epi", ":A-0000128");
        tree.link("/sys/kernel/slab/tcp_bind_bucket", ":A-0000128");
        tree
    }

    #[test]
    fn a_merged_cache_is_found_under_the_name_that_slabinfo_has() {
        let tree = debian();
        let caches = Caches::read(&tree.root());
        let found = caches.of(Object::EpollItem).unwrap();
        assert_eq!((found.name, found.usage.active_objects), ("pid", 500));
        assert_eq!(found.shared_with, ["pid", "tcp_bind_bucket"]);
        let own = caches.of(Object::Tcp).unwrap();
        assert_eq!((own.name, own.shared_with.len()), ("TCP", 0));
        assert!(caches.of(Object::Request).is_none());
    }

    #[test]
    fn without_slabinfo_no_cache_is_found() {
        let tree = debian();
        let caches = Caches::read(&tree.root().denying("/proc/slabinfo"));
        assert!(caches.of(Object::Tcp).is_none());
    }
}
