//! Compiles the table of system calls into one seccomp program.
//!
//! A general compiler makes a chain of comparisons with one link per rule. The kernel prepares, translates
//! and, for its cache, runs a program once per system call when it is loaded, so a chain for this table took
//! 0.8 ms of every sandbox's start. Ranges in a binary tree take an eighth. The tests compare it with such
//! a compiler, call by call.

use std::collections::BTreeMap;

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W,
    sock_filter,
};

use crate::channel::{Fault, Step};
use crate::sys;
use crate::syscalls::{self, Test, UNKNOWN_FROM, Verdict};

/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_AARCH64` of linux/audit.h.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Offsets in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
/// The lower halves of the arguments; both architectures are little-endian.
const ARGUMENTS_AT: u32 = 16;
const ARGUMENT_BYTES: u32 = 8;

/// A compiled filter.
pub(crate) struct Filter(Vec<sock_filter>);

impl Filter {
    /// Compiles it; done once, in the broker.
    pub fn compile() -> Filter {
        Filter::of(&syscalls::table())
    }

    /// The same for the sandboxes of a nursery, whose processes confine themselves.
    pub fn compile_for_nurseries() -> Filter {
        Filter::of(&syscalls::nursery_table())
    }

    /// The same for zygotes, which also enter sandboxes.
    pub fn compile_for_zygotes() -> Filter {
        Filter::of(&syscalls::zygote_table())
    }

    fn of(table: &BTreeMap<u32, Verdict>) -> Filter {
        let mut program = vec![
            load(ARCHITECTURE_AT),
            jump(BPF_JEQ, ARCHITECTURE, 1, 0),
            // Another architecture's numbers mean other calls.
            give(libc::SECCOMP_RET_KILL_PROCESS),
            load(NUMBER_AT),
        ];
        program.extend(tree(&ranges(table)));
        Filter(program)
    }

    /// Loads it into the current thread, for ever; it forbids loading another.
    pub fn load(&self) -> Result<(), Fault> {
        sys::load_filter(&self.0).step("seccomp")
    }
}

/// Calls with the same verdict, from this number to the next range.
struct Range {
    first: u32,
    verdict: Verdict,
}

/// The whole table as ranges, from 0 without gaps.
fn ranges(table: &BTreeMap<u32, Verdict>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for number in 0..=UNKNOWN_FROM {
        let otherwise = if number < UNKNOWN_FROM {
            Verdict::Refuse
        } else {
            Verdict::Unknown
        };
        let verdict = table.get(&number).cloned().unwrap_or(otherwise);
        if ranges.last().is_none_or(|last| last.verdict != verdict) {
            ranges.push(Range {
                first: number,
                verdict,
            });
        }
    }
    ranges
}

/// A binary search for the call's range, and what follows from it. The number is in the accumulator.
fn tree(ranges: &[Range]) -> Vec<sock_filter> {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let [first, ..] = upper else {
        return Vec::new();
    };
    if lower.is_empty() {
        return leaf(&first.verdict);
    }
    let (below, above) = (tree(lower), tree(upper));
    // Conditional jumps reach only 255 instructions.
    let mut program = match u8::try_from(below.len()) {
        Ok(distance) => vec![jump(BPF_JGE, first.first, distance, 0)],
        Err(_) => vec![jump(BPF_JGE, first.first, 0, 1), leap(below.len())],
    };
    program.extend(below);
    program.extend(above);
    program
}

fn leaf(verdict: &Verdict) -> Vec<sock_filter> {
    match verdict {
        Verdict::Allow => vec![give(libc::SECCOMP_RET_ALLOW)],
        Verdict::Refuse => vec![refuse(libc::EPERM)],
        Verdict::Unknown => vec![refuse(libc::ENOSYS)],
        Verdict::If(alternatives) => {
            let mut program: Vec<sock_filter> = one_argument(alternatives).unwrap_or_else(|| {
                alternatives
                    .iter()
                    .flat_map(|tests| alternative(tests))
                    .collect()
            });
            program.push(refuse(libc::EPERM));
            program
        }
    }
}

/// Several values of one argument: it is loaded once.
fn one_argument(alternatives: &[Vec<Test>]) -> Option<Vec<sock_filter>> {
    let [Test { argument, mask, .. }] = *alternatives.first()?.as_slice() else {
        return None;
    };
    let mut program = argument_under(argument, mask);
    for tests in alternatives {
        match *tests.as_slice() {
            [test] if (test.argument, test.mask) == (argument, mask) => {
                program.extend([
                    jump(BPF_JEQ, test.value, 0, 1),
                    give(libc::SECCOMP_RET_ALLOW),
                ]);
            }
            _ => return None,
        }
    }
    Some(program)
}

/// All tests of one alternative; falls through if one fails.
fn alternative(tests: &[Test]) -> Vec<sock_filter> {
    let mut program = vec![give(libc::SECCOMP_RET_ALLOW)];
    for test in tests.iter().rev() {
        let over = u8::try_from(program.len()).expect("an alternative has few tests");
        let mut before = argument_under(test.argument, test.mask);
        before.push(jump(BPF_JEQ, test.value, 0, over));
        program.splice(0..0, before);
    }
    program
}

fn argument_under(argument: u8, mask: u32) -> Vec<sock_filter> {
    let mut program = vec![load(ARGUMENTS_AT + ARGUMENT_BYTES * u32::from(argument))];
    if mask != u32::MAX {
        program.push(instruction(BPF_ALU | BPF_AND | BPF_K, mask));
    }
    program
}

fn instruction(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).expect("codes have 16 bits"),
        jt: 0,
        jf: 0,
        k,
    }
}

fn load(offset: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn jump(how: u32, k: u32, then: u8, otherwise: u8) -> sock_filter {
    sock_filter {
        jt: then,
        jf: otherwise,
        ..instruction(BPF_JMP | how | BPF_K, k)
    }
}

fn leap(distance: usize) -> sock_filter {
    instruction(
        BPF_JMP | BPF_JA,
        u32::try_from(distance).expect("programs are short"),
    )
}

fn give(action: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, action)
}

fn refuse(errno: i32) -> sock_filter {
    give(libc::SECCOMP_RET_ERRNO | errno.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };

    use super::*;

    /// What the kernel does with a program: number, architecture and arguments in, action out.
    fn run(program: &[sock_filter], number: u32, architecture: u32, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(number.to_le_bytes());
        data.extend(architecture.to_le_bytes());
        data.extend([0; 8]);
        arguments
            .iter()
            .for_each(|argument| data.extend(argument.to_le_bytes()));
        let (mut at, mut a) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let code = u32::from(code);
            let branch = |holds: bool| usize::from(if holds { jt } else { jf });
            if code == BPF_LD | BPF_W | BPF_ABS {
                let at = usize::try_from(k).expect("small");
                a = u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"));
            } else if code == BPF_ALU | BPF_AND | BPF_K {
                a &= k;
            } else if code == BPF_JMP | BPF_JEQ | BPF_K {
                at += branch(a == k);
            } else if code == BPF_JMP | BPF_JGE | BPF_K {
                at += branch(a >= k);
            } else if code == BPF_JMP | libc::BPF_JGT | BPF_K {
                at += branch(a > k);
            } else if code == BPF_JMP | BPF_JA {
                at += usize::try_from(k).expect("small");
            } else if code == BPF_RET | BPF_K {
                return k;
            } else {
                panic!("unknown instruction {code:x}");
            }
        }
    }

    /// The same table through seccompiler.
    fn oracle() -> Vec<sock_filter> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        for (number, verdict) in syscalls::table() {
            let alternatives = match verdict {
                Verdict::Allow => Vec::new(),
                Verdict::If(alternatives) => alternatives,
                Verdict::Refuse | Verdict::Unknown => continue,
            };
            let condition = |test: &Test| {
                let op = SeccompCmpOp::MaskedEq(test.mask.into());
                SeccompCondition::new(
                    test.argument,
                    SeccompCmpArgLen::Dword,
                    op,
                    test.value.into(),
                )
                .expect("a condition")
            };
            let rule = |tests: &Vec<Test>| {
                SeccompRule::new(tests.iter().map(condition).collect()).expect("a rule")
            };
            rules.insert(number.into(), alternatives.iter().map(rule).collect());
        }
        let arch = TargetArch::try_from(std::env::consts::ARCH).expect("a known architecture");
        let errno = SeccompAction::Errno(libc::EPERM.cast_unsigned());
        let filter =
            SeccompFilter::new(rules, errno, SeccompAction::Allow, arch).expect("a filter");
        let program = BpfProgram::try_from(filter).expect("a program");
        program
            .iter()
            .map(|i| sock_filter {
                code: i.code,
                jt: i.jt,
                jf: i.jf,
                k: i.k,
            })
            .collect()
    }

    #[test]
    fn every_call_is_judged_as_by_a_general_compiler() {
        let (ours, theirs) = (Filter::compile().0, oracle());
        let unknown = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
        // Every value that some test names, its neighbours, and the same with bits in the upper half.
        let mut values: Vec<u64> = vec![0, 1, u64::MAX];
        for verdict in syscalls::table().into_values() {
            if let Verdict::If(alternatives) = verdict {
                for test in alternatives.iter().flatten() {
                    let value = u64::from(test.value);
                    values.extend([
                        value,
                        value ^ 1,
                        value | 1 << 32,
                        value | u64::from(!test.mask),
                        value.wrapping_sub(1),
                    ]);
                }
            }
        }
        values.extend((0..32).map(|bit| 1 << bit));
        values.sort_unstable();
        values.dedup();
        let mut compared = 0;
        for number in (0..1200).chain([0x4000_0000, 0x4000_0027, u32::MAX]) {
            let tested = matches!(syscalls::table().get(&number), Some(Verdict::If(_)));
            let some = if tested { values.len() } else { 1 };
            for first in &values[..some] {
                let (seconds, thirds) = if number == u32::try_from(libc::SYS_socket).expect("small")
                {
                    (
                        &[0, 1, 2, 3, 5, 10, 0x801, 0x8_0002, 0x8_0003, 1 << 32 | 1][..],
                        &[0, 1, 6, 17, 58, 132, 262, 1 << 32][..],
                    )
                } else {
                    (&[0, 1, 0x5412][..], &[0, 6, 0x2000][..])
                };
                for second in seconds {
                    for third in thirds {
                        // Whichever argument is tested meets the interesting values.
                        for arguments in [
                            [*first, *second, *third, 0, 0, 0],
                            [*second, *first, *third, 0, 0, 0],
                            [*third, *second, *first, 0, 0, 0],
                        ] {
                            let mine = run(&ours, number, ARCHITECTURE, arguments);
                            let expected = run(&theirs, number, ARCHITECTURE, arguments);
                            let newer = number >= UNKNOWN_FROM
                                || number == u32::try_from(libc::SYS_clone3).expect("small");
                            let expected = if newer && expected == refused {
                                unknown
                            } else {
                                expected
                            };
                            assert_eq!(mine, expected, "{number} {arguments:x?}");
                            compared += 1;
                        }
                    }
                }
            }
        }
        assert!(compared > 100_000, "{compared}");
    }

    #[test]
    fn other_architectures_are_killed() {
        let filter = Filter::compile().0;
        // i386, and the other one of the two that we know.
        for architecture in [0x4000_0003, 0xc000_003e, 0xc000_00b7] {
            if architecture != ARCHITECTURE {
                assert_eq!(
                    run(&filter, 0, architecture, [0; 6]),
                    libc::SECCOMP_RET_KILL_PROCESS
                );
            }
        }
    }

    #[test]
    fn the_program_stays_small() {
        let (ours, theirs) = (Filter::compile().0.len(), oracle().len());
        println!("{ours} instructions, {theirs} as a chain");
        assert!(ours < 700, "{ours}");
    }
}
