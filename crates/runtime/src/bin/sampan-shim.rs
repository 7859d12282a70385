//! The shim as a program of its own: what the tests start, and the way out should re-executing the main
//! binary ever dirty too much memory.

fn main() {
    runtime::shim::main(std::env::args_os().skip(1))
}
