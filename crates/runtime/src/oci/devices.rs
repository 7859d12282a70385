//! Which devices a container may use, on cgroup v2.
//!
//! Version 1 has a controller for it, to which libcontainer writes the rules. Version 2 asks a BPF program
//! instead (the kernel's `cgroup-v2.rst`, "Device controller"), and libcontainer's own needs a C library: so
//! the rules become a program here. The last rule that speaks of an access decides, as runc does it.

use libcontainer::oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

// What the kernel calls things in `struct bpf_cgroup_dev_ctx`.
const TYPE_BLOCK: i32 = 1;
const TYPE_CHAR: i32 = 2;
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
const ANY: i32 = MKNOD | READ | WRITE;

// Registers: what the program answers, what it is told, and what it takes from that.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

// Instructions (the kernel's `bpf/standardization/instruction-set.rst`).
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// The program that applies `rules`, `None` if they allow everything. What no rule speaks of is refused.
/// Numbers that no device can have match none.
pub(super) fn program(rules: &[LinuxDeviceCgroup]) -> Option<Vec<u64>> {
    // The type is in the lower half of the first word, the access in the upper one.
    let mut code = vec![
        instruction(LOAD_WORD, TYPE, CONTEXT, 0, 0),
        instruction(AND, TYPE, 0, 0, 0xffff),
        instruction(LOAD_WORD, ACCESS, CONTEXT, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    let head = code.len();
    for rule in rules.iter().rev() {
        let tests = tests(rule);
        let decides_all = tests.is_empty();
        if decides_all && rule.allow() && code.len() == head {
            return None;
        }
        code.extend(block(&tests, rule.allow()));
        if decides_all {
            // The kernel refuses instructions that are never reached.
            return Some(code);
        }
    }
    code.extend(answer(false));
    Some(code)
}

/// A condition under which a rule does not speak of an access: the instructions, of which the last jumps.
struct Test {
    before: Vec<u64>,
    jump: u8,
    register: u8,
    value: i32,
}

/// A number beyond what the kernel has becomes one that no device has.
fn tests(rule: &LinuxDeviceCgroup) -> Vec<Test> {
    let mut tests = Vec::new();
    let mut unlike = |register, value| {
        tests.push(Test { before: Vec::new(), jump: JUMP_NOT_EQUAL, register, value });
    };
    match rule.typ() {
        Some(LinuxDeviceType::B) => unlike(TYPE, TYPE_BLOCK),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => unlike(TYPE, TYPE_CHAR),
        _ => {}
    }
    let number = |number: i64| i32::try_from(number).unwrap_or(i32::MAX);
    // OCI: a number left out, or negative, is any.
    if let Some(major) = rule.major().filter(|major| *major >= 0) {
        unlike(MAJOR, number(major));
    }
    if let Some(minor) = rule.minor().filter(|minor| *minor >= 0) {
        unlike(MINOR, number(minor));
    }
    let access = rule.access().as_deref().map_or(ANY, mask);
    if access != ANY {
        let copy = instruction(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0);
        let keep = |bits| vec![copy, instruction(AND, SCRATCH, 0, 0, bits)];
        // An allowance covers what is asked for as a whole; a refusal hits with any part of it.
        tests.push(if rule.allow() {
            Test { before: keep(!access), jump: JUMP_NOT_EQUAL, register: SCRATCH, value: 0 }
        } else {
            Test { before: keep(access), jump: JUMP_EQUAL, register: SCRATCH, value: 0 }
        });
    }
    tests
}

fn mask(access: &str) -> i32 {
    access.chars().fold(0, |mask, letter| {
        mask | match letter {
            'm' => MKNOD,
            'r' => READ,
            'w' => WRITE,
            _ => 0,
        }
    })
}

/// The tests of one rule and its answer; each test jumps behind it.
fn block(tests: &[Test], allow: bool) -> Vec<u64> {
    let end = answer(allow);
    let mut left = tests.iter().map(|test| test.before.len() + 1).sum::<usize>() + end.len();
    let mut code = Vec::with_capacity(left);
    for test in tests {
        code.extend(&test.before);
        left -= test.before.len() + 1;
        // A block has some ten instructions.
        let behind = i16::try_from(left).unwrap_or(i16::MAX);
        code.push(instruction(test.jump, test.register, 0, behind, test.value));
    }
    code.extend(end);
    code
}

fn answer(allow: bool) -> [u64; 2] {
    [instruction(MOVE, ANSWER, 0, 0, i32::from(allow)), instruction(EXIT, 0, 0, 0, 0)]
}

/// `struct bpf_insn` as the number that its bytes are.
fn instruction(code: u8, to: u8, from: u8, offset: i16, value: i32) -> u64 {
    let [low, high] = offset.to_ne_bytes();
    let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
    let [a, b, c, d] = value.to_ne_bytes();
    u64::from_ne_bytes([code, registers, low, high, a, b, c, d])
}

#[cfg(test)]
mod tests;
