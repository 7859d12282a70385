//! The stream: what is said, repeated and refused on it.

use crate::world::{assign, server, service, shell, shut_down, task, with_world};
use types::swarm::session::Assignments;
use types::swarm::task::TaskState;

#[test]
fn the_node_says_what_it_is_and_beats() {
    with_world(|world| async move {
        let agent = world.agent().await;
        world.manager.hears("beats", || world.manager.beats() >= 3).await;
        let hello = world.manager.hello();
        assert!(hello.resources.nano_cpus > 0 && hello.resources.memory_bytes > 0);
        assert_eq!(hello.platform.os, "linux");
        assert!(!hello.hostname.is_empty() && !hello.engine.engine_version.is_empty());
        assert!(*agent.connected().borrow());
    });
}

#[test]
fn a_change_that_does_not_fit_ends_the_stream_and_all_is_said_again() {
    with_world(|world| async move {
        let _agent = world.agent().await;
        let first = task("t1", server());
        world.manager.put(vec![service(), assign(first.clone())]).await;
        world.manager.reaches("t1", TaskState::Running).await;
        let streams = world.manager.streams();
        let stale = Assignments {
            from: 1_000,
            to: 1_001,
            put: vec![shut_down(&first)],
            ..Assignments::default()
        };
        world.manager.send(stale).await;
        world.manager.hears("another stream", || world.manager.streams() > streams).await;
        world.manager.put(vec![assign(task("t2", server()))]).await;
        world.manager.reaches("t2", TaskState::Running).await;
        assert_eq!(world.manager.status("t1").state, TaskState::Running);
    });
}

#[test]
fn repeated_and_reordered_assignments_change_nothing() {
    with_world(|world| async move {
        let _agent = world.agent().await;
        let first = task("t1", server());
        // The task comes before what it refers to.
        world.manager.put(vec![assign(first.clone())]).await;
        world.manager.put(vec![service()]).await;
        let running = world.manager.reaches("t1", TaskState::Running).await;
        for _ in 0..3 {
            world.manager.put(vec![service(), assign(first.clone())]).await;
        }
        world.manager.put(vec![shut_down(&first)]).await;
        // An older wish does not wake it again.
        world.manager.put(vec![assign(first)]).await;
        world.manager.put(vec![assign(task("t2", shell("exit 0")))]).await;
        world.manager.reaches("t2", TaskState::Complete).await;
        let stopped = world.manager.reaches("t1", TaskState::Shutdown).await;
        assert_eq!(
            stopped.container_status.unwrap().container_id,
            running.container_status.unwrap().container_id
        );
        assert_eq!(world.containers().await, ["/web.1.t1", "/web.1.t2"]);
    });
}

#[test]
fn what_is_not_written_is_said_in_the_next_stream() {
    with_world(|world| async move {
        let _agent = world.agent().await;
        world.manager.be_silent(true);
        world.manager.put(vec![service(), assign(task("t1", shell("exit 0")))]).await;
        world.manager.reaches("t1", TaskState::Complete).await;
        let told = |states: Vec<TaskState>| {
            states.iter().filter(|state| **state == TaskState::Complete).count()
        };
        let before = told(world.manager.states("t1"));
        world.manager.be_away(true);
        world.manager.be_silent(false);
        world.manager.be_away(false);
        world.manager.hears("it again", || told(world.manager.states("t1")) > before).await;
    });
}
