//! `sim --seeds N [--from S]`, `sim --seed S --trace`: run the simulation. `sim --faults`: check that the
//! faults made on purpose are caught.

use std::process::ExitCode;

use clap::Parser;
use sim::{Fault, Real, Report, run};

/// A fault shows in few seeds when what it bends is rare, as a preemption is.
const FAULT_SEEDS: u64 = 2_000;

#[derive(Parser)]
#[command(name = "sim", about = "Sampan's cluster in virtual time")]
struct Args {
    /// How many seeds; with `--faults`, 2000 at least
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this one
    #[arg(long)]
    seed: Option<u64>,
    /// Tell what happens
    #[arg(long)]
    trace: bool,
    /// Run with each fault made on purpose until it is caught
    #[arg(long)]
    faults: bool,
}

#[expect(clippy::print_stdout, reason = "its output is what it is for")]
fn main() -> ExitCode {
    let args = Args::parse();
    if args.faults {
        return faults(args.from, args.seeds.max(FAULT_SEEDS));
    }
    let (from, seeds) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    let (mut failed, mut virtual_ms, mut entries, mut events) = (0, 0u64, 0, 0);
    for seed in from..from + seeds {
        let report = run(seed, Box::new(Real::default()), args.trace);
        virtual_ms += report.virtual_ms;
        entries += report.entries;
        events += report.events;
        if !report.notes.is_empty() {
            failed += 1;
            println!("seed {seed} failed at {}", when(&report));
            for note in report.notes.iter().take(3) {
                println!("    {note}");
            }
        }
    }
    println!(
        "{seeds} seeds, {failed} failed, {:.1} days of virtual time, {entries} entries, {events} events",
        virtual_ms as f64 / 86_400_000.0
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn when(report: &Report) -> String {
    format!("{:.3} s", report.first_at.unwrap_or(0) as f64 / 1000.0)
}

#[expect(clippy::print_stdout, reason = "its output is what it is for")]
fn faults(from: u64, seeds: u64) -> ExitCode {
    let mut missed = 0;
    for fault in Fault::ALL {
        let caught = (from..from + seeds).find_map(|seed| {
            if !run(seed, Box::new(Real::default()), false).notes.is_empty() {
                return None; // it fails without the fault too
            }
            let report = run(seed, Box::new(Real::with(Some(fault))), false);
            report.notes.first().map(|note| (seed, note.to_string()))
        });
        match caught {
            Some((seed, note)) => println!("{fault:?}: seed {seed}: {note}"),
            None => {
                missed += 1;
                println!("{fault:?}: not caught by {seeds} seeds");
            }
        }
    }
    println!("{} faults, {missed} missed", Fault::ALL.len());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
