//! Which worker's listener a new connection comes to, where the kernel is told.
//!
//! The kernel runs a small program (classic BPF, `SO_ATTACH_REUSEPORT_CBPF`) on each SYN; its result is
//! the number of a listener, counted in the order in which they began to listen, which is the workers'.
//! A number that there is not means: choose by hash, as without a program.
//!
//! ```text
//!  worker   0   1   2   3   4   5        core of a worker = its number % cores
//!  core     0   1   0   1   0   1        listener = core's place + cores × (random % workers per core)
//! ```

use libc::sock_filter;

/// `SKF_AD_CPU` and `SKF_AD_RANDOM` of `linux/filter.h`, as absolute offsets: the core that works on the
/// packet, and a random number.
const CORE: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_CPU).cast_unsigned();
const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();

/// No listener has this number.
const BY_HASH: u32 = u32::MAX;

/// The kernel's bound on the length of a program.
const INSTRUCTIONS_MAX: usize = 4_096;

/// The program for workers pinned round-robin to `cores`; `None` where they are not spread evenly over them.
pub(crate) fn program(cores: &[usize], workers: usize) -> Option<Vec<sock_filter>> {
    let each = workers.checked_div(cores.len())?;
    if each == 0 || !workers.is_multiple_of(cores.len()) {
        return None;
    }
    let mut program = vec![load(CORE)];
    // One core after another: its place becomes the accumulator, or the next is tried.
    for (place, &core) in cores.iter().enumerate() {
        let left = (cores.len() - place - 1) * 3;
        program.push(jump(libc::BPF_JEQ, u32::try_from(core).ok()?, 0, 2));
        program.push(statement(libc::BPF_LD | libc::BPF_IMM, place as u32));
        // Over the cores that are left, and over the end for those that are not among them.
        program.push(statement(libc::BPF_JMP | libc::BPF_JA, left as u32 + 1));
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, BY_HASH));
    program.push(statement(libc::BPF_ST, 0));
    program.push(load(RANDOM));
    program.push(arithmetic(libc::BPF_MOD, each as u32));
    program.push(arithmetic(libc::BPF_MUL, cores.len() as u32));
    program.push(statement(libc::BPF_LDX | libc::BPF_MEM, 0));
    program.push(statement(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0));
    program.push(statement(libc::BPF_RET | libc::BPF_A, 0));
    (program.len() <= INSTRUCTIONS_MAX).then_some(program)
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn arithmetic(operation: u32, constant: u32) -> sock_filter {
    statement(libc::BPF_ALU | operation | libc::BPF_K, constant)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(condition: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        jt,
        jf,
        ..statement(libc::BPF_JMP | condition | libc::BPF_K, k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the kernel would compute, instruction by instruction as `linux/filter.h` defines them.
    fn run(program: &[sock_filter], core: u32, random: u32) -> u32 {
        let (mut at, mut a, mut x, mut memory) = (0, 0_u32, 0_u32, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            match u32::from(code) {
                0x20 if k == CORE => a = core,
                0x20 if k == RANDOM => a = random,
                0x00 => a = k,
                0x02 => memory = a,
                0x61 => x = memory,
                0x05 => at += k as usize,
                0x15 => at += usize::from(if a == k { jt } else { jf }),
                0x94 => a %= k,
                0x24 => a = a.wrapping_mul(k),
                0x0c => a = a.wrapping_add(x),
                0x06 => return k,
                0x16 => return a,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    proptest! {
        #[test]
        fn every_listener_of_the_packets_core_can_be_chosen(
            cores in prop::collection::btree_set(0usize..512, 1..130),
            each in 1usize..140,
            core in 0u32..600,
            random: u32,
        ) {
            let cores: Vec<usize> = cores.into_iter().collect();
            let workers = cores.len() * each;
            let program = program(&cores, workers).expect("even");
            let chosen = run(&program, core, random);
            match cores.iter().position(|&own| own == core as usize) {
                Some(place) => {
                    prop_assert!((chosen as usize) < workers);
                    prop_assert_eq!(chosen as usize % cores.len(), place);
                    prop_assert_eq!(chosen as usize / cores.len(), random as usize % each);
                }
                None => prop_assert_eq!(chosen, BY_HASH),
            }
        }
    }

    #[test]
    fn cores_with_unequal_workers_have_no_program() {
        assert!(program(&[0, 1], 3).is_none());
        assert!(program(&[0, 1], 1).is_none());
        assert!(program(&[], 2).is_none());
    }
}
