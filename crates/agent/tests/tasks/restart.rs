//! Agents, daemons and managers that come and go, while containers stay.

use crate::world::{assign, gone, server, service, shell, task, until, with_world};
use types::swarm::task::TaskState;

#[test]
fn the_next_agent_finds_the_same_container() {
    with_world(|mut world| async move {
        let agent = world.agent().await;
        world.manager.put(vec![service(), assign(task("t1", server()))]).await;
        let before = world.manager.reaches("t1", TaskState::Running).await;
        world.restart_daemon(agent).await;
        world.manager.be_away(true);
        let agent = world.agent().await;
        world.manager.be_away(false);
        let streams = world.manager.streams();
        world.manager.hears("a new stream", || world.manager.streams() > streams).await;
        let state = world.engine().container_inspect("web.1.t1", false).await.unwrap().state;
        assert_eq!(Some(state.pid), before.container_status.map(|it| it.pid));
        assert_eq!(world.containers().await, ["/web.1.t1"]);
        // It is watched: what happens to it from now on is told.
        world.engine().container_kill("web.1.t1", "SIGKILL").await.unwrap();
        let failed = world.manager.reaches("t1", TaskState::Failed).await;
        assert_eq!(failed.err, "task: non-zero exit (137)");
        drop(agent);
    });
}

#[test]
fn an_exit_that_no_agent_saw_is_told_by_the_next() {
    with_world(|world| async move {
        let agent = world.agent().await;
        let spec = shell("while [ ! -e /go ]; do sleep 0.1; done; exit 5");
        world.manager.put(vec![service(), assign(task("t1", spec))]).await;
        world.manager.reaches("t1", TaskState::Running).await;
        agent.stop().await;
        world.exec("web.1.t1", "touch /go").await;
        until("the container has ended", async || {
            !world.engine().container_inspect("web.1.t1", false).await.unwrap().state.running
        })
        .await;
        let _agent = world.agent().await;
        let failed = world.manager.reaches("t1", TaskState::Failed).await;
        assert_eq!(failed.err, "task: non-zero exit (5)");
    });
}

#[test]
fn an_exit_that_no_daemon_saw_is_told_by_the_next() {
    with_world(|mut world| async move {
        let agent = world.agent().await;
        world.manager.put(vec![service(), assign(task("t1", server()))]).await;
        let running = world.manager.reaches("t1", TaskState::Running).await;
        let container = running.container_status.unwrap();
        world.manager.be_away(true);
        world.kill_daemon(agent).await;
        let pid = nix::unistd::Pid::from_raw(container.pid);
        nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL).unwrap();
        let exit = world.dir.join("exec/c").join(&container.container_id).join("exit.json");
        until("the shim's note of it", async || exit.exists()).await;
        world.open().await;
        let _agent = world.agent().await;
        world.manager.be_away(false);
        let failed = world.manager.reaches("t1", TaskState::Failed).await;
        assert_eq!(failed.err, "task: non-zero exit (137)");
    });
}

#[test]
fn a_task_lives_and_dies_without_managers() {
    with_world(|world| async move {
        let agent = world.agent().await;
        let spec = shell("while [ ! -e /go ]; do sleep 0.1; done; exit 4");
        world
            .manager
            .put(vec![service(), assign(task("t1", spec)), assign(task("t2", server()))])
            .await;
        world.manager.reaches("t1", TaskState::Running).await;
        world.manager.reaches("t2", TaskState::Running).await;
        world.manager.be_away(true);
        // The agent itself begins anew, too: its journal is all it has.
        agent.stop().await;
        let agent = world.agent().await;
        world.exec("web.1.t1", "touch /go").await;
        until("the container has ended", async || {
            !world.engine().container_inspect("web.1.t1", false).await.unwrap().state.running
        })
        .await;
        assert!(world.engine().container_inspect("web.1.t2", false).await.unwrap().state.running);
        agent.stop().await;
        let _agent = world.agent().await;
        assert_eq!(world.manager.status("t1").state, TaskState::Running);
        world.manager.be_away(false);
        let failed = world.manager.reaches("t1", TaskState::Failed).await;
        assert_eq!(failed.err, "task: non-zero exit (4)");
        assert_eq!(world.manager.status("t2").state, TaskState::Running);
    });
}

#[test]
fn a_container_of_no_task_goes_once_a_complete_list_says_so() {
    with_world(|world| async move {
        let agent = world.agent().await;
        world.manager.put(vec![service(), assign(task("t1", server()))]).await;
        world.manager.reaches("t1", TaskState::Running).await;
        world.manager.be_away(true);
        agent.stop().await;
        // Without its journal the agent knows no task, and touches nothing.
        std::fs::remove_dir_all(world.dir.join("agent")).unwrap();
        let _agent = world.agent().await;
        assert_eq!(world.containers().await, ["/web.1.t1"]);
        world.manager.forget("task t1");
        world.manager.be_away(false);
        until("the container is gone", async || world.containers().await.is_empty()).await;
    });
}

#[test]
fn a_task_whose_container_is_lost_has_failed() {
    with_world(|world| async move {
        let _agent = world.agent().await;
        world.manager.put(vec![service(), assign(task("t1", server()))]).await;
        world.manager.reaches("t1", TaskState::Running).await;
        let options = engine::RemoveOptions { force: true, ..engine::RemoveOptions::default() };
        world.engine().container_remove("web.1.t1", options).await.unwrap();
        world.manager.reaches("t1", TaskState::Failed).await;
        // That there is nothing to remove does not hold the removal up.
        world.manager.change(Vec::new(), vec![gone("t1")]).await;
        until("no container", async || world.containers().await.is_empty()).await;
    });
}
