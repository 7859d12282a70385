use super::*;
use proptest::prelude::*;

const RULES: Rules = Rules { stop_grace: Duration::from_secs(10), health_check: false };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

/// Plays events a second apart; returns the end and every effect as one line each.
fn play(machine: Machine, events: &[Event]) -> (Machine, Vec<String>) {
    let mut lines = Vec::new();
    let mut machine = machine;
    for (second, event) in (1..).zip(events) {
        let (next, effects) = step(machine, event.clone(), at(second));
        machine = next;
        lines.extend(effects.iter().map(line));
    }
    (machine, lines)
}

fn line(effect: &Effect) -> String {
    match effect {
        Effect::Report(report) => {
            let mut line = format!("report {} \"{}\"", report.state.as_str(), report.message);
            if !report.err.is_empty() {
                line += &format!(" err \"{}\"", report.err);
            }
            if let Some(code) = report.exit_code {
                line += &format!(" exit {code}");
            }
            line
        }
        Effect::WakeAt(time) => format!("wake at {}s", time.seconds()),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn running() -> Machine {
    play(Machine::new(TaskState::Running, RULES), &[Event::Begin, Event::Prepared, Event::Started])
        .0
}

#[test]
fn a_task_is_prepared_started_and_finishes() {
    let events = [Event::Begin, Event::Prepared, Event::Started, Event::Exited { code: 0 }];
    let (machine, lines) = play(Machine::new(TaskState::Running, RULES), &events);
    assert_eq!(
        lines,
        [
            "report accepted \"accepted\"",
            "report preparing \"preparing\"",
            "prepare",
            "report ready \"prepared\"",
            "report starting \"starting\"",
            "start",
            "report running \"started\"",
            "report complete \"finished\" exit 0",
        ]
    );
    assert_eq!(machine.phase, Phase::Ended);
}

#[test]
fn a_task_desired_ready_is_prepared_and_waits() {
    let ready = Machine::new(TaskState::Ready, RULES);
    let (machine, lines) = play(ready, &[Event::Begin, Event::Prepared]);
    assert_eq!(machine.phase, Phase::Ready);
    assert_eq!(lines.last().map(String::as_str), Some("report ready \"prepared\""));
    let (_, lines) = play(machine, &[Event::Desired(TaskState::Running)]);
    assert_eq!(lines, ["report starting \"starting\"", "start"]);
}

#[test]
fn a_task_with_a_health_check_runs_once_it_is_healthy() {
    let checked = Machine::new(TaskState::Running, Rules { health_check: true, ..RULES });
    let (machine, _) = play(checked, &[Event::Begin, Event::Prepared, Event::Started]);
    assert_eq!(machine.phase, Phase::Starting);
    let (_, lines) = play(machine, &[Event::Healthy]);
    assert_eq!(lines, ["report running \"started\""]);
}

#[test]
fn an_unhealthy_task_is_stopped_and_then_failed() {
    let (_, lines) = play(running(), &[Event::Unhealthy, Event::Exited { code: 143 }]);
    assert_eq!(
        lines,
        [
            "stop",
            "wake at 11s",
            "report failed \"unhealthy\" err \"task: unhealthy container\" exit 143"
        ]
    );
}

#[test]
fn a_stop_is_a_signal_then_a_kill_after_the_grace() {
    let (machine, lines) = play(running(), &[Event::Desired(TaskState::Shutdown)]);
    assert_eq!(lines, ["stop", "wake at 11s"]);
    let (machine, effects) = step(machine, Event::Tick, at(5));
    assert_eq!(effects, [Effect::WakeAt(at(11))]);
    let (machine, effects) = step(machine, Event::Tick, at(11));
    assert_eq!(effects, [Effect::Kill, Effect::WakeAt(at(21))]);
    let (_, lines) = play(machine, &[Event::Exited { code: 137 }]);
    assert_eq!(lines, ["report shutdown \"shutdown\" exit 137"]);
}

#[test]
fn a_task_that_cannot_be_prepared_is_rejected() {
    let missing = Event::PrepareFailed("No such image: nope:1".to_owned());
    let (_, lines) = play(Machine::new(TaskState::Running, RULES), &[Event::Begin, missing]);
    assert_eq!(
        lines.last().map(String::as_str),
        Some("report rejected \"preparing\" err \"No such image: nope:1\"")
    );
}

#[test]
fn a_task_is_removed_only_when_it_is_assigned_no_more() {
    let (machine, lines) = play(running(), &[Event::Desired(TaskState::Remove)]);
    assert_eq!(lines, ["stop", "wake at 11s"]);
    let (machine, lines) = play(machine, &[Event::Exited { code: 0 }]);
    assert_eq!(lines, ["report shutdown \"shutdown\" exit 0"]);
    let (machine, lines) = play(machine, &[Event::Unassigned, Event::Removed]);
    assert_eq!(lines, ["remove"]);
    assert_eq!(machine.phase, Phase::Removed);
}

#[test]
fn a_task_shut_down_while_it_is_prepared_never_starts() {
    let fresh = Machine::new(TaskState::Running, RULES);
    let events = [Event::Begin, Event::Desired(TaskState::Shutdown), Event::Prepared];
    let (machine, lines) = play(fresh, &events);
    assert_eq!(lines[3..], ["cancelprepare", "report shutdown \"shutdown\""]);
    assert_eq!(machine.phase, Phase::Ended);
}

#[test]
fn a_restarted_agent_goes_on_where_it_was() {
    let found = Machine::resume(TaskState::Running, TaskState::Running, RULES);
    let (_, lines) = play(found, &[Event::Begin, Event::Started, Event::Exited { code: 3 }]);
    assert_eq!(lines, ["report failed \"started\" err \"task: non-zero exit (3)\" exit 3"]);
    let stale = Machine::resume(TaskState::Preparing, TaskState::Running, RULES);
    let (_, lines) = play(stale, &[Event::Begin]);
    assert_eq!(lines, ["prepare"], "what was reported is not reported again");
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        Just(Event::Begin),
        Just(Event::Desired(TaskState::Running)),
        Just(Event::Desired(TaskState::Shutdown)),
        Just(Event::Desired(TaskState::Remove)),
        Just(Event::Unassigned),
        Just(Event::Prepared),
        Just(Event::PrepareFailed("no".to_owned())),
        Just(Event::Started),
        Just(Event::StartFailed("no".to_owned())),
        Just(Event::Healthy),
        Just(Event::Unhealthy),
        Just(Event::Exited { code: 0 }),
        Just(Event::Exited { code: 1 }),
        Just(Event::Vanished),
        Just(Event::Removed),
        Just(Event::Tick),
    ];
    proptest::collection::vec(event, 0..40)
}

proptest! {
    /// Whatever happens in whatever order, the states that managers hear of only grow, and the last word
    /// is said once.
    #[test]
    fn reported_states_only_grow(events in events(), health_check: bool) {
        let mut machine = Machine::new(TaskState::Ready, Rules { health_check, ..RULES });
        let mut heard = Vec::new();
        for (second, event) in (0..).zip(events) {
            let (next, effects) = step(machine, event, at(second));
            machine = next;
            heard.extend(effects.into_iter().filter_map(|effect| match effect {
                Effect::Report(report) => Some(report.state),
                _ => None,
            }));
        }
        prop_assert!(heard.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", heard);
        prop_assert!(heard.iter().filter(|state| state.is_terminal()).count() <= 1);
    }

    /// Nothing starts that nobody wants, and nothing is removed that may still run.
    #[test]
    fn what_nobody_wants_stops_and_only_then_goes(events in events()) {
        let mut machine = Machine::new(TaskState::Running, RULES);
        let mut unwanted = false;
        for (second, event) in (0..).zip(events) {
            unwanted |= matches!(event, Event::Unassigned)
                || matches!(event, Event::Desired(desired) if desired > TaskState::Complete);
            let before = machine.phase.clone();
            let (next, effects) = step(machine, event, at(second));
            machine = next;
            prop_assert!(!(unwanted && effects.contains(&Effect::Start)));
            if effects.contains(&Effect::Remove) && before != Phase::Removing {
                prop_assert!(machine.reported.is_terminal());
            }
        }
    }
}
