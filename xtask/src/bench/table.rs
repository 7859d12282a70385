//! Samples of both sides, and the table of their medians.

use std::collections::BTreeMap;
use std::fmt;

use testkit::Engine;

/// What samples are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    /// More is better.
    PerSecond,
}

#[derive(Debug)]
struct Row {
    unit: Unit,
    goal: &'static str,
    samples: BTreeMap<&'static str, Vec<f64>>,
}

/// Rows in the order they were first seen.
#[derive(Debug, Default)]
pub(crate) struct Table {
    order: Vec<&'static str>,
    rows: BTreeMap<&'static str, Row>,
}

impl Table {
    /// Adds one sample; `goal` is what the row is to show, in words.
    pub(crate) fn add(
        &mut self,
        engine: Engine,
        name: &'static str,
        unit: Unit,
        goal: &'static str,
        value: f64,
    ) {
        eprintln!("    {:<8} {name:<44} {}", label(engine), shown(unit, value));
        let row = self.rows.entry(name).or_insert_with(|| {
            self.order.push(name);
            Row { unit, goal, samples: BTreeMap::new() }
        });
        row.samples.entry(label(engine)).or_default().push(value);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| | dockerd | sampan | ratio | goal | samples |\n|---|---:|---:|---:|---|---:|"
        )?;
        for name in &self.order {
            let row = &self.rows[name];
            let median_of =
                |engine| row.samples.get(label(engine)).and_then(|samples| median(samples));
            let (theirs, ours) = (median_of(Engine::Dockerd), median_of(Engine::Sampan));
            let cell =
                |value: Option<f64>| value.map_or_else(String::new, |value| shown(row.unit, value));
            let ratio = theirs
                .zip(ours)
                .map_or_else(String::new, |(theirs, ours)| format!("{:.2}", ours / theirs));
            let count = row.samples.values().map(Vec::len).max().unwrap_or(0);
            writeln!(
                f,
                "| {name} | {} | {} | {ratio} | {} | {count} |",
                cell(theirs),
                cell(ours),
                row.goal
            )?;
        }
        Ok(())
    }
}

fn label(engine: Engine) -> &'static str {
    match engine {
        Engine::Dockerd => "dockerd",
        Engine::Sampan => "sampan",
    }
}

fn shown(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Seconds if value < 1e-3 => format!("{:.1} µs", value * 1e6),
        Unit::Seconds if value < 1e-2 => format!("{:.2} ms", value * 1e3),
        Unit::Seconds if value < 1.0 => format!("{:.0} ms", value * 1e3),
        Unit::Seconds => format!("{value:.2} s"),
        Unit::Bytes => format!("{:.2} MB", value / 1e6),
        Unit::PerSecond => format!("{value:.0}/s"),
    }
}

fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        _ if sorted.is_empty() => None,
        0 => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        _ => Some(sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_both_medians_and_their_ratio() {
        let mut table = Table::default();
        for value in [0.4, 0.2, 0.3] {
            table.add(Engine::Dockerd, "run", Unit::Seconds, "≤ 0.35", value);
        }
        for value in [0.05, 0.07] {
            table.add(Engine::Sampan, "run", Unit::Seconds, "≤ 0.35", value);
        }
        let text = table.to_string();
        assert_eq!(text.lines().nth(2), Some("| run | 300 ms | 60 ms | 0.20 | ≤ 0.35 | 3 |"));
    }
}
