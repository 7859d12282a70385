//! A task from its assignment to its removal, and the ways in which it can fail.

use crate::world::{assign, gone, server, service, shell, shut_down, task, until, with_world};
use types::container::HealthConfig;
use types::swarm::task::{ContainerSpec, TaskState};

#[test]
fn a_task_runs_stops_and_leaves_nothing() {
    with_world(|world| async move {
        let agent = world.agent().await;
        let spec = ContainerSpec {
            env: vec!["WHO={{.Service.Name}}.{{.Task.Slot}}".to_owned()],
            hostname: "{{.Service.Name}}-host".to_owned(),
            ..server()
        };
        let task = task("t1", spec);
        world.manager.put(vec![service(), assign(task.clone())]).await;
        let running = world.manager.reaches("t1", TaskState::Running).await;
        let container = running.container_status.unwrap();
        assert!(container.pid > 0);
        assert_eq!(running.message, "started");

        let inspect = world.engine().container_inspect("web.1.t1", false).await.unwrap();
        assert_eq!(inspect.id.as_str(), container.container_id);
        let labels = inspect.config.labels.unwrap();
        assert_eq!(labels["com.docker.swarm.task.id"], "t1");
        assert_eq!(labels["com.docker.swarm.service.name"], "web");
        assert!(inspect.config.env.unwrap().contains(&"WHO=web.1".to_owned()));
        assert_eq!(inspect.config.hostname, "web-host");
        assert_eq!(inspect.host_config.restart_policy.name, "no");

        world.manager.put(vec![shut_down(&task)]).await;
        let stopped = world.manager.reaches("t1", TaskState::Shutdown).await;
        assert_eq!(stopped.container_status.unwrap().exit_code, 0);
        assert_eq!(world.containers().await, ["/web.1.t1"]);

        world.manager.change(Vec::new(), vec![gone("t1")]).await;
        until("the container is gone", async || world.containers().await.is_empty()).await;
        let states = world.manager.states("t1");
        assert!(states.is_sorted(), "{states:?}");
        agent.leave().await.unwrap();
        assert_eq!(world.left_behind(), [""; 0]);
    });
}

#[test]
fn how_a_container_ends_is_told_in_dockers_words() {
    with_world(|world| async move {
        let _agent = world.agent().await;
        let started = ContainerSpec { command: vec!["/nope".to_owned()], ..server() };
        let missing = ContainerSpec { image: "127.0.0.1:1/nosuch:latest".to_owned(), ..server() };
        let template = ContainerSpec { env: vec!["A={{.Nope}}".to_owned()], ..server() };
        world
            .manager
            .put(vec![
                service(),
                assign(task("good", shell("exit 0"))),
                assign(task("bad", shell("exit 3"))),
                assign(task("nostart", started)),
                assign(task("noimage", missing)),
                assign(task("notemplate", template)),
            ])
            .await;
        let good = world.manager.reaches("good", TaskState::Complete).await;
        assert_eq!((good.message.as_str(), good.err.as_str()), ("finished", ""));
        let bad = world.manager.reaches("bad", TaskState::Failed).await;
        assert_eq!(bad.err, "task: non-zero exit (3)");
        assert_eq!(bad.container_status.unwrap().exit_code, 3);
        let nostart = world.manager.reaches("nostart", TaskState::Failed).await;
        assert!(nostart.err.starts_with("starting container failed: "), "{}", nostart.err);
        assert!(nostart.err.contains("/nope"), "{}", nostart.err);
        let noimage = world.manager.reaches("noimage", TaskState::Rejected).await;
        assert_eq!(noimage.err, "No such image: 127.0.0.1:1/nosuch:latest");
        assert_eq!(noimage.message, "preparing");
        let notemplate = world.manager.reaches("notemplate", TaskState::Rejected).await;
        assert_eq!(notemplate.err, "expanding env failed: can't evaluate field Nope");
    });
}

#[test]
fn a_task_runs_once_it_is_healthy_and_fails_when_it_is_not() {
    with_world(|world| async move {
        let _agent = world.agent().await;
        let check = |script: &str, retries: i64| HealthConfig {
            test: vec!["CMD-SHELL".to_owned(), script.to_owned()],
            interval: 100_000_000,
            timeout: 60_000_000_000,
            retries,
            ..HealthConfig::default()
        };
        let well =
            ContainerSpec { health_check: Some(check("test -e /well", 1_000_000)), ..server() };
        let sick = ContainerSpec { health_check: Some(check("exit 1", 1)), ..server() };
        world
            .manager
            .put(vec![service(), assign(task("well", well)), assign(task("sick", sick))])
            .await;
        let sick = world.manager.reaches("sick", TaskState::Failed).await;
        assert_eq!(sick.err, "task: unhealthy container");
        assert!(!world.manager.states("sick").contains(&TaskState::Running));
        until("the container is up", async || {
            let up = world.engine().container_inspect("web.1.well", false).await;
            up.is_ok_and(|it| it.state.running)
        })
        .await;
        assert!(world.manager.status("well").state <= TaskState::Starting);
        world.exec("web.1.well", "touch /well").await;
        world.manager.reaches("well", TaskState::Running).await;
    });
}

#[test]
fn a_container_that_ignores_the_stop_signal_is_killed() {
    with_world(|world| async move {
        let _agent = world.agent().await;
        let spec = ContainerSpec {
            stop_grace_period: Some(100_000_000),
            ..shell("trap '' TERM; while :; do sleep 1; done")
        };
        let task = task("t1", spec);
        world.manager.put(vec![service(), assign(task.clone())]).await;
        world.manager.reaches("t1", TaskState::Running).await;
        world.manager.put(vec![shut_down(&task)]).await;
        let stopped = world.manager.reaches("t1", TaskState::Shutdown).await;
        assert_eq!(stopped.container_status.unwrap().exit_code, 137);
    });
}

#[test]
fn many_tasks_come_up_and_go() {
    const TASKS: usize = 12;
    with_world(|world| async move {
        let agent = world.agent().await;
        let names: Vec<String> = (0..TASKS).map(|number| format!("t{number}")).collect();
        let tasks = names.iter().map(|name| assign(task(name, server())));
        world.manager.put(std::iter::once(service()).chain(tasks).collect()).await;
        for name in &names {
            world.manager.reaches(name, TaskState::Running).await;
        }
        assert_eq!(world.containers().await.len(), TASKS);
        let removed = names.iter().map(|name| gone(name)).collect();
        world.manager.change(Vec::new(), removed).await;
        until("all are gone", async || world.containers().await.is_empty()).await;
        agent.leave().await.unwrap();
        assert_eq!(world.left_behind(), [""; 0]);
    });
}
