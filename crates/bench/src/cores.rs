//! Which core is whose: the server inherits the first that this process may use, the client has the others.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores that this process was allowed when it started.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    allowed: Vec<usize>,
}

impl Cores {
    /// Asks what this thread may run on.
    pub(crate) fn read() -> nix::Result<Self> {
        let set = sched_getaffinity(Pid::from_raw(0))?;
        let allowed = (0..CpuSet::count()).filter(|core| set.is_set(*core) == Ok(true));
        Ok(Self {
            allowed: allowed.collect(),
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.allowed.len()
    }

    /// The server's: what this thread starts from now on is kept to the first core.
    pub(crate) fn enter_first(&self) -> nix::Result<()> {
        keep_to(self.server())
    }

    /// The client's: this thread and those it starts leave the first core alone, if there is another.
    pub(crate) fn enter_others(&self) -> nix::Result<()> {
        keep_to(self.client())
    }

    pub(crate) fn server(&self) -> &[usize] {
        &self.allowed[..1.min(self.allowed.len())]
    }

    pub(crate) fn client(&self) -> &[usize] {
        match self.allowed.as_slice() {
            [_, others @ ..] if !others.is_empty() => others,
            all => all,
        }
    }
}

fn keep_to(cores: &[usize]) -> nix::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_core_is_shared_and_more_are_divided() {
        let cores = |allowed: &[usize]| Cores {
            allowed: allowed.to_vec(),
        };
        assert_eq!(cores(&[3]).server(), [3]);
        assert_eq!(cores(&[3]).client(), [3]);
        assert_eq!(cores(&[2, 5, 7]).server(), [2]);
        assert_eq!(cores(&[2, 5, 7]).client(), [5, 7]);
    }

    #[test]
    fn a_thread_stays_within_what_it_was_allowed() {
        // On a thread of its own: affinity is a thread's.
        let test = std::thread::spawn(|| {
            let before = Cores::read().expect("an affinity");
            before.enter_first().expect("the first core");
            let now = Cores::read().expect("an affinity");
            assert_eq!(now.allowed, before.server());
            before.enter_others().expect("the others");
            let now = Cores::read().expect("an affinity");
            assert_eq!(now.allowed, before.client());
        });
        test.join().expect("no panic");
    }
}
