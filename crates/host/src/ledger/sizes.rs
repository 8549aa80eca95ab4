//! How large the objects are: from `/proc/slabinfo` where it may be read, else as measured beforehand on the
//! nearest kernel release that is not newer.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::object::Object;
use crate::{HostRoot, KernelRelease, SlabSource};

use super::caches::Caches;

/// Where sizes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "from", content = "release")]
pub enum SizeSource {
    /// `/proc/slabinfo` of the running kernel.
    Slabinfo,
    /// Measured beforehand on this release.
    Release(String),
}

impl fmt::Display for SizeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slabinfo => f.write_str("this kernel's /proc/slabinfo"),
            Self::Release(release) => write!(
                f,
                "measured beforehand on Linux {release} (this kernel's /proc/slabinfo needs root)"
            ),
        }
    }
}

/// The size of one kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectSize {
    /// As the allocator lays it out, padding included.
    pub bytes: u64,
    /// How many share one slab, and with it one accounting vector.
    pub per_slab: u64,
}

/// The sizes of all kinds of objects on one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectSizes {
    /// Where they come from.
    pub source: SizeSource,
    /// Whether slabs carry accounting vectors: they do once there is a memory control group beside the root.
    pub accounted: bool,
    /// By kind; kinds that this kernel does without are not there.
    pub objects: BTreeMap<Object, ObjectSize>,
}

impl ObjectSizes {
    /// As measured on the newest release known here, with accounting.
    #[must_use]
    pub fn newest() -> Self {
        Self::of_release(None)
    }

    /// As measured on the nearest release that is not newer, with accounting; the oldest known for those older
    /// still, the newest where the release is not known.
    #[must_use]
    pub fn of_release(kernel: Option<&KernelRelease>) -> Self {
        let known = RELEASES.iter().rev();
        let measured = match kernel {
            None => &RELEASES[RELEASES.len() - 1],
            Some(kernel) => known
                .clone()
                .find(|known| kernel.at_least(known.major, known.minor))
                .unwrap_or(&RELEASES[0]),
        };
        let objects = measured.objects.iter().map(|&(object, bytes, per_slab)| {
            let size = ObjectSize { bytes, per_slab };
            (object, size)
        });
        Self {
            source: SizeSource::Release(format!("{}.{}", measured.major, measured.minor)),
            accounted: true,
            objects: objects.collect(),
        }
    }

    /// The running kernel's, from the best source that this user may read.
    #[must_use]
    pub fn read(root: &HostRoot) -> Self {
        Self::from_caches(root, &Caches::read(root))
    }

    pub(super) fn from_caches(root: &HostRoot, caches: &Caches) -> Self {
        let mut sizes = Self::of_release(KernelRelease::read(root).ok().as_ref());
        sizes.accounted = is_accounting(root);
        if !has_socket_security(root) {
            sizes.objects.remove(&Object::SocketSecurity);
        }
        if caches.source() != Some(SlabSource::Slabinfo) {
            return sizes;
        }
        sizes.source = SizeSource::Slabinfo;
        for object in Object::ALL.into_iter().filter(|o| !o.is_kmalloc()) {
            match caches.of(object) {
                Some(found) => {
                    let size = ObjectSize {
                        bytes: found.usage.object_bytes,
                        per_slab: found.usage.objects_per_slab.max(1),
                    };
                    sizes.objects.insert(object, size);
                }
                // No such cache: the module is not loaded, or the kernel does without. Where merging is not
                // told, it may also go by another name.
                None if !caches.tell_merging() => {}
                None => {
                    sizes.objects.remove(&object);
                }
            }
        }
        sizes
    }

    /// The size of one object; 0 where the kernel does without.
    #[must_use]
    pub fn bytes(&self, object: Object) -> u64 {
        self.objects.get(&object).map_or(0, |size| size.bytes)
    }

    /// One object's share of its slab's accounting vector: 8 bytes, and its part of the rounding up to what
    /// `kmalloc` hands out.
    #[must_use]
    pub fn accounting_bytes(&self, object: Object) -> f64 {
        match self.objects.get(&object) {
            Some(size) if self.accounted && object.is_accounted() => {
                kmalloc_bytes(size.per_slab.saturating_mul(POINTER_BYTES)) as f64
                    / size.per_slab as f64
            }
            _ => 0.0,
        }
    }

    /// Several objects together.
    pub(crate) fn sum(&self, objects: impl IntoIterator<Item = Object>) -> u64 {
        objects.into_iter().map(|object| self.bytes(object)).sum()
    }
}

const POINTER_BYTES: u64 = 8;

/// What `kmalloc` hands out for so many bytes.
fn kmalloc_bytes(bytes: u64) -> u64 {
    match bytes {
        65..=96 => 96,
        129..=192 => 192,
        _ => bytes.max(8).checked_next_power_of_two().unwrap_or(bytes),
    }
}

/// `/proc/cgroups` counts the groups of each controller; the root group is one. Where it does not tell, there
/// are some: service managers make them.
fn is_accounting(root: &HostRoot) -> bool {
    let boot = root.read("/proc/cmdline").unwrap_or_default();
    let switched_off = boot.split_whitespace().any(|word| {
        word.strip_prefix("cgroup.memory=")
            .is_some_and(|what| what.split(',').any(|what| what == "nokmem"))
    });
    let groups = root.read("/proc/cgroups").unwrap_or_default();
    let memory = groups.lines().find_map(|line| line.strip_prefix("memory"));
    let in_use = memory.is_none_or(|line| {
        let numbers: Vec<u64> = line
            .split_whitespace()
            .filter_map(|w| w.parse().ok())
            .collect();
        !matches!(numbers[..], [_, _, 0] | [_, ..=1, _])
    });
    in_use && !switched_off
}

/// Of the security modules that distributions switch on, AppArmor alone allocates something per socket.
fn has_socket_security(root: &HostRoot) -> bool {
    root.value::<String>("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|enabled| enabled == "Y")
}

struct Release {
    major: u32,
    minor: u32,
    /// Kind, bytes, objects per slab.
    objects: &'static [(Object, u64, u64)],
}

/// Measured with `scripts/vm/ledger.sh` on Debian 12's kernels, and on a 6.18 with no security module. Oldest
/// first. Sizes depend on a kernel's configuration too, by some dozen bytes.
const RELEASES: [Release; 3] = [
    Release {
        major: 6,
        minor: 1,
        objects: &[
            (Object::Tcp, 2304, 14),
            (Object::Tcp6, 2496, 13),
            (Object::Inode, 832, 19),
            (Object::File, 256, 16),
            (Object::Dentry, 192, 21),
            (Object::InodeSecurity, 32, 128),
            (Object::FileSecurity, 24, 170),
            (Object::SocketSecurity, 16, 256),
            (Object::EpollItem, 128, 32),
            (Object::EpollWait, 64, 64),
            (Object::EpollHead, 16, 256),
            // A receive that waits keeps no message header on this release.
            (Object::Request, 256, 16),
            (Object::AsyncPoll, 96, 42),
            (Object::Conntrack, 256, 16),
            (Object::ConntrackExtensions, 64, 64),
            (Object::HalfOpen, 312, 13),
            (Object::HalfOpen6, 312, 13),
            (Object::TimeWait, 272, 15),
            (Object::TimeWait6, 272, 15),
        ],
    },
    Release {
        major: 6,
        minor: 12,
        objects: &[
            (Object::Tcp, 2432, 13),
            (Object::Tcp6, 2624, 12),
            (Object::Inode, 832, 19),
            (Object::File, 192, 21),
            (Object::Dentry, 192, 21),
            (Object::InodeSecurity, 88, 46),
            (Object::FileSecurity, 48, 85),
            (Object::SocketSecurity, 16, 256),
            (Object::EpollItem, 128, 32),
            (Object::EpollWait, 64, 64),
            (Object::EpollHead, 24, 170),
            (Object::Request, 256, 16),
            (Object::AsyncPoll, 96, 42),
            (Object::AsyncMessage, 512, 16),
            (Object::Conntrack, 256, 16),
            (Object::ConntrackExtensions, 64, 64),
            (Object::HalfOpen, 312, 13),
            (Object::HalfOpen6, 312, 13),
            (Object::TimeWait, 256, 16),
            (Object::TimeWait6, 256, 16),
        ],
    },
    Release {
        major: 6,
        minor: 18,
        objects: &[
            (Object::Tcp, 2368, 13),
            (Object::Tcp6, 2496, 13),
            (Object::Inode, 832, 19),
            (Object::File, 192, 21),
            (Object::Dentry, 192, 21),
            (Object::InodeSecurity, 32, 128),
            (Object::FileSecurity, 24, 170),
            (Object::EpollItem, 128, 32),
            (Object::EpollWait, 64, 64),
            (Object::EpollHead, 16, 256),
            (Object::Request, 256, 16),
            (Object::AsyncPoll, 96, 42),
            (Object::AsyncMessage, 512, 16),
            (Object::Conntrack, 256, 16),
            (Object::ConntrackExtensions, 64, 64),
            (Object::HalfOpen, 320, 12),
            (Object::HalfOpen6, 320, 12),
            (Object::TimeWait, 256, 16),
            (Object::TimeWait6, 256, 16),
        ],
    },
];
