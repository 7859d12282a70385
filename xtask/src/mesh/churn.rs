//! `cargo xtask mesh --churn N`: N random steps, each followed by questions on all hosts that a model has the answers to;
//! then what is destroyed or cut off, and how long until everything is told as it should be again.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::{Churn, Hosts};

/// An answer that is wrong for longer is stale.
const STALE: Duration = Duration::from_secs(2);
/// Above anything here takes, on a machine that does other things, too.
const WITHIN: Duration = Duration::from_secs(120);
const CUT: Duration = Duration::from_secs(30);
/// Wrong answers of a late step that are shown.
const SHOWN: usize = 5;
/// Between two lines about how far it has come.
const SAY: Duration = Duration::from_secs(10);

pub(super) fn run(hosts: &mut Hosts, managers: usize, steps: u32, seed: u64) -> Result<()> {
    println!("seed {seed}");
    let mut churn = Churn::begin(hosts, managers, seed)?;
    let mut lags = Vec::new();
    let (mut questions, mut said) = (0, Instant::now());
    for number in 1..=steps {
        let step = churn.step(hosts, WITHIN).with_context(|| format!("step {number}"))?;
        if step.lag > STALE {
            println!("step {number}, {}: right after {:.2} s", step.what, step.lag.as_secs_f64());
            step.wrong.iter().take(SHOWN).for_each(|wrong| println!("    {wrong}"));
        }
        questions += step.questions;
        lags.push(step.lag);
        if said.elapsed() >= SAY || number == steps {
            said = Instant::now();
            show(&mut lags, questions);
        }
    }
    let late = lags.iter().filter(|lag| **lag > STALE).count();
    destroy(hosts, &mut churn)?;
    ensure!(late == 0, "{late} steps were told wrong for more than {STALE:?}");
    Ok(())
}

fn show(lags: &mut [Duration], questions: usize) {
    lags.sort_unstable();
    let at = |part: f64| {
        let place = (lags.len() as f64 * part) as usize;
        lags.get(place.min(lags.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    println!(
        "{:>5} steps {questions:>8} questions, the last wrong answer p50 {:.3} s, p99 {:.3} s, at most {:.3} s after",
        lags.len(),
        at(0.5).as_secs_f64(),
        at(0.99).as_secs_f64(),
        at(1.0).as_secs_f64()
    );
}

/// What is done to a host, and what a shell does there.
const DAMAGES: &[(&str, &str)] = &[
    ("nft flush ruleset", "nft flush ruleset"),
    ("routes deleted", "ip route flush table main proto 83"),
    ("rules deleted", "while ip rule del proto 83 2>/dev/null; do :; done"),
    ("tunnel deleted", "ip link del $(ip -o link | grep -o 'smx[0-9a-f]*' | head -n 1)"),
    (
        "forwarding deleted",
        "bridge fdb flush dev $(ip -o link | grep -o 'smx[0-9a-f]*' | head -n 1)",
    ),
    ("tasks' links deleted", "ip -o link | grep -o 'smt[0-9a-f]*' | xargs -n 1 ip link del; true"),
];

fn destroy(hosts: &mut Hosts, churn: &mut Churn) -> Result<()> {
    let all: Vec<usize> = (0..hosts.iter().count()).collect();
    let last = all.len() - 1;
    for (what, script) in DAMAGES {
        hosts[last].namespace().run(&["sh", "-c", script])?;
        told(what, churn.right(hosts, WITHIN)?.lag);
    }
    hosts[last].kill9();
    churn.right_on(hosts, &all[..last], WITHIN).context("while a daemon is away")?;
    hosts[last].try_again()?;
    told("kill -9 of a daemon", churn.right(hosts, WITHIN)?.lag);

    hosts.isolate(last);
    let cut = Instant::now();
    while cut.elapsed() < CUT {
        churn.step_elsewhere(hosts, last, WITHIN).context("while a host is cut off")?;
    }
    thread::sleep(CUT.saturating_sub(cut.elapsed()));
    hosts.heal();
    let healed = Instant::now();
    churn.right(hosts, WITHIN)?;
    told("cut off for 30 s, healed", healed.elapsed());
    Ok(())
}

fn told(what: &str, lag: Duration) {
    let verdict = if lag > STALE { "  LATE" } else { "" };
    println!("{what:<26} right after {:.2} s{verdict}", lag.as_secs_f64());
}
