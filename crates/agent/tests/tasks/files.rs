//! Secrets and configs in containers.

use crate::world::{assign, gone, server, service, shut_down, task, until, with_world};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::path::Path;
use std::sync::Arc;
use types::swarm::secret::{Config, ConfigSpec, Secret, SecretSpec};
use types::swarm::session::Assigned;
use types::swarm::task::{ConfigReference, ContainerSpec, FileTarget, SecretReference, TaskState};
use types::{ConfigId, SecretId};

fn secret(text: &str) -> Assigned {
    let data = BASE64_STANDARD.encode(text);
    let spec = SecretSpec { name: "pass".to_owned(), data, ..SecretSpec::default() };
    Assigned::Secret(Arc::new(Secret { id: SecretId::new("secret1"), spec, ..Secret::default() }))
}

fn config(text: &str) -> Assigned {
    let data = BASE64_STANDARD.encode(text);
    let labels = [("sampan.signal".to_owned(), "SIGHUP".to_owned())].into();
    let spec = ConfigSpec { name: "conf".to_owned(), data, labels, ..ConfigSpec::default() };
    Assigned::Config(Arc::new(Config { id: ConfigId::new("config1"), spec, ..Config::default() }))
}

fn target(name: &str) -> Option<FileTarget> {
    let (uid, gid) = ("7".to_owned(), "8".to_owned());
    Some(FileTarget { name: name.to_owned(), uid, gid, mode: 0o440 })
}

fn spec() -> ContainerSpec {
    let secrets = ["pass", "/etc/lone.key"].map(|name| SecretReference {
        file: target(name),
        secret_id: "secret1".to_owned(),
        secret_name: "pass".to_owned(),
    });
    let configs = vec![ConfigReference {
        file: target("/etc/app.conf"),
        config_id: "config1".to_owned(),
        config_name: "conf".to_owned(),
    }];
    let script =
        "trap 'exit 0' TERM; trap 'echo x >> /hups' HUP; while :; do sleep 3600 & wait $!; done";
    ContainerSpec { secrets: secrets.to_vec(), configs, args: vec![script.to_owned()], ..server() }
}

/// Whether a file below `dir` holds `text`.
fn is_written(dir: &Path, text: &str) -> bool {
    let found = std::process::Command::new("grep")
        .args(["-rIl", "--exclude-dir=swarm", "--exclude-dir=merged", "--exclude-dir=image", text])
        .arg(dir)
        .output()
        .unwrap();
    !found.stdout.is_empty()
}

#[test]
fn secrets_and_configs_are_files_that_change_in_place_and_leave_no_trace() {
    with_world(|world| async move {
        let agent = world.agent().await;
        // The task waits for its config.
        world.manager.put(vec![service(), secret("hush-one"), assign(task("t1", spec()))]).await;
        world.manager.put(vec![config("conf-one")]).await;
        world.manager.reaches("t1", TaskState::Running).await;
        let all = "cat /run/secrets/pass /etc/lone.key /etc/app.conf";
        assert_eq!(world.exec("web.1.t1", all).await, "hush-onehush-oneconf-one");
        let stat = "stat -c %u:%g:%a /run/secrets/pass /etc/lone.key /etc/app.conf";
        assert_eq!(world.exec("web.1.t1", stat).await, "7:8:440\n7:8:440\n7:8:440");
        let write = "for f in /run/secrets/pass /etc/lone.key; do (echo x > $f) 2>/dev/null && echo wrote; done";
        assert_eq!(world.exec("web.1.t1", write).await, "");
        assert!(!is_written(&world.dir, "hush-one"));

        for round in ["two", "three"] {
            let (hush, conf) = (format!("hush-{round}"), format!("conf-{round}"));
            world.manager.put(vec![secret(&hush), config(&conf)]).await;
            let now = format!("{hush}{hush}{conf}");
            until("the new content", async || world.exec("web.1.t1", all).await == now).await;
            assert_eq!(world.exec("web.1.t1", write).await, "");
        }
        until("the signal", async || world.exec("web.1.t1", "cat /hups").await.contains('x')).await;
        assert_eq!(world.manager.status("t1").state, TaskState::Running);

        world.manager.put(vec![shut_down(&task("t1", spec()))]).await;
        world.manager.reaches("t1", TaskState::Shutdown).await;
        let files = world.dir.join("exec/swarm/t1");
        until("the files are gone", async || !files.exists()).await;
        world.manager.change(Vec::new(), vec![gone("t1")]).await;
        until("all is gone", async || world.containers().await.is_empty()).await;
        agent.leave().await.unwrap();
        assert_eq!(world.left_behind(), [""; 0]);
    });
}

#[test]
fn secrets_outlive_the_agent_and_change_after_it() {
    with_world(|mut world| async move {
        let agent = world.agent().await;
        world
            .manager
            .put(vec![service(), secret("hush-one"), config("c"), assign(task("t1", spec()))])
            .await;
        world.manager.reaches("t1", TaskState::Running).await;
        world.restart_daemon(agent).await;
        let _agent = world.agent().await;
        let cat = "cat /run/secrets/pass /etc/lone.key";
        assert_eq!(world.exec("web.1.t1", cat).await, "hush-onehush-one");
        world.manager.put(vec![secret("hush-two")]).await;
        until("the new content", async || world.exec("web.1.t1", cat).await == "hush-twohush-two")
            .await;
    });
}
