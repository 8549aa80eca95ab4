//! What io_uring can do on this kernel: a small ring is made and asked.

use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use serde::Serialize;

use crate::HostRoot;

/// An operation that the engine submits.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// As the kernel's headers name it, without the prefix.
    pub name: &'static str,
    /// What the engine does with it.
    pub purpose: &'static str,
    code: u8,
}

const fn operation(name: &'static str, code: u8, purpose: &'static str) -> Operation {
    Operation {
        name,
        purpose,
        code,
    }
}

/// The operations that the engine cannot do without.
pub const OPERATIONS: &[Operation] = &[
    operation(
        "ACCEPT",
        opcode::AcceptMulti::CODE,
        "accepts connections, many for one submission",
    ),
    operation(
        "POLL_ADD",
        opcode::PollAdd::CODE,
        "watches idle connections, and the wake descriptor",
    ),
    operation("RECV", opcode::Recv::CODE, "reads into a provided buffer"),
    operation("SEND", opcode::Send::CODE, "writes replies"),
    operation(
        "CLOSE",
        opcode::Close::CODE,
        "closes without a system call of its own",
    ),
    operation(
        "ASYNC_CANCEL",
        opcode::AsyncCancel::CODE,
        "lets go of what is armed",
    ),
];

/// What io_uring can do here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum UringSupport {
    /// A ring could be made.
    Available {
        /// Operations that the kernel does not have.
        missing: Vec<&'static str>,
        /// Features that would serve the engine better and that the kernel does not have.
        lacking: Vec<&'static str>,
        /// Whether the ring took `SINGLE_ISSUER` and `DEFER_TASKRUN`.
        deferred_completions: bool,
    },
    /// The kernel made none: the reason.
    Refused {
        /// What the kernel said, with what it means.
        because: String,
    },
    /// Not the running host.
    NotProbed,
}

impl UringSupport {
    /// Makes a small ring and asks it, where `root` is the running host.
    #[must_use]
    pub fn probe(root: &HostRoot) -> Self {
        if !root.is_live() {
            return Self::NotProbed;
        }
        let ring = match IoUring::new(4) {
            Ok(ring) => ring,
            Err(error) => {
                return Self::Refused {
                    because: refusal(&error),
                };
            }
        };
        let mut probe = Probe::new();
        if let Err(error) = ring.submitter().register_probe(&mut probe) {
            return Self::Refused {
                because: format!("the ring cannot be asked for its operations ({error})"),
            };
        }
        let absent = |operation: &&Operation| !probe.is_supported(operation.code);
        let missing = OPERATIONS
            .iter()
            .filter(absent)
            .map(|operation| operation.name)
            .collect();
        let features = [
            ("bundles (6.10)", ring.params().is_feature_recvsend_bundle()),
            (
                "batched waits (6.12)",
                ring.params().is_feature_min_timeout(),
            ),
        ];
        let lacking = features
            .iter()
            .filter(|(_, there)| !there)
            .map(|(name, _)| *name)
            .collect();
        let deferred_completions = IoUring::<squeue::Entry, cqueue::Entry>::builder()
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(4)
            .is_ok();
        Self::Available {
            missing,
            lacking,
            deferred_completions,
        }
    }
}

fn refusal(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(nix::libc::EPERM) => {
            "refused (EPERM): kernel.io_uring_disabled, or a seccomp filter such as a container's"
                .to_owned()
        }
        Some(nix::libc::ENOSYS) => {
            "refused (ENOSYS): a kernel built without io_uring, or a seccomp filter".to_owned()
        }
        Some(nix::libc::ENOMEM) => "refused (ENOMEM): raise memlock, or free memory".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn a_tree_is_not_probed() {
        assert_eq!(
            UringSupport::probe(&Tree::with(&[]).root()),
            UringSupport::NotProbed
        );
    }

    #[test]
    fn the_running_kernel_answers() {
        assert_ne!(
            UringSupport::probe(&HostRoot::live()),
            UringSupport::NotProbed
        );
    }

    #[test]
    fn refusals_say_what_to_look_at() {
        let text = |errno| refusal(&std::io::Error::from_raw_os_error(errno));
        assert!(text(nix::libc::EPERM).contains("io_uring_disabled"));
        assert!(text(nix::libc::ENOSYS).contains("without io_uring"));
        assert!(text(nix::libc::ENOMEM).contains("memlock"));
    }
}
