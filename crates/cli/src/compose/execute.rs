//! Runs a plan: every step as soon as those it waits for are done, independent ones at the same time.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use compose::model::Condition;
use compose::plan::{Operation, Plan, Replaced};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Method;
use serde_json::{Value, json};
use types::swarm::policy::{PolicyRule, with_own};

use super::board::{Board, Mark};
use super::container::{self, Hooks, Said};
use super::init;
use super::project::Loaded;
use crate::client::{Client, Query, segment};
use crate::network::policy;
use crate::report;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(200);
/// How often a container without a health check is looked at before that is the error: one that ends at once has
/// ended by then, and that says more.
const LOOKS: u32 = 3;
/// How Compose begins when a dependency is not good enough.
const FAILED: &str = "dependency failed to start: ";

/// What every step needs.
pub(super) struct Executor<'a> {
    pub(super) client: &'a Client,
    pub(super) loaded: &'a Loaded,
    pub(super) board: &'a Board,
    /// `-t`: seconds before SIGKILL.
    pub(super) timeout: Option<i64>,
    /// `--parallel`: steps at the same time; `None` is no limit.
    pub(super) parallel: Option<usize>,
}

impl Executor<'_> {
    /// Runs all steps. After a failure no step begins any more; those under way are waited for.
    pub(super) async fn run(&self, plan: &Plan) -> Result<()> {
        for warning in &plan.warnings {
            self.board.note(&format!("WARN: {warning}"));
        }
        let policies = compose::policies(&self.loaded.project).map_err(|what| anyhow!(what))?;
        let starts = plan.steps.iter().any(|step| starts(&step.operation));
        for (key, rules) in policies.iter().filter(|_| starts) {
            let created = |operation: &Operation| matches!(operation, Operation::CreateNetwork { key: made, .. } if made == key);
            if !plan.steps.iter().any(|step| created(&step.operation)) {
                self.admit(key, rules).await?;
            }
        }
        let mut done = BTreeSet::new();
        let mut begun = BTreeSet::new();
        let mut running = FuturesUnordered::new();
        let mut failure = None;
        loop {
            for (index, step) in plan.steps.iter().enumerate() {
                let ready =
                    failure.is_none() && step.after.iter().all(|before| done.contains(before));
                let room = self.parallel.is_none_or(|limit| running.len() < limit);
                if ready && room && begun.insert(index) {
                    running.push(async move { (index, self.step(&step.operation).await) });
                }
            }
            match running.next().await {
                None => break,
                Some((index, Ok(()))) => {
                    done.insert(index);
                }
                Some((_, Err(err))) => {
                    failure.get_or_insert(err);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    async fn step(&self, operation: &Operation) -> Result<()> {
        let object = object(operation);
        let (working, finished) = words(operation);
        if let Operation::Running { .. } = operation {
            self.board.say(&object, finished, Mark::Done);
            return Ok(());
        }
        self.board.say(&object, working, Mark::Working);
        match self.perform(operation).await {
            Ok(()) => {
                self.board.say(&object, finished, Mark::Done);
                Ok(())
            }
            Err(err) if optional(operation) => {
                let why = report::text(&err);
                self.board.say(&object, &format!("Skipped: {why}"), Mark::Warning);
                if let Operation::Wait { service, .. } = operation {
                    let why = why.strip_prefix(FAILED).unwrap_or(&why);
                    self.board.note(&format!(
                        "WARN: optional dependency {service:?} failed to start: {why}"
                    ));
                }
                Ok(())
            }
            Err(err) => {
                self.board.say(&object, "Error", Mark::Failed);
                Err(err)
            }
        }
    }

    async fn perform(&self, operation: &Operation) -> Result<()> {
        match operation {
            Operation::CreateNetwork { key, .. } => self.create_network(key).await,
            Operation::CreateVolume { key, .. } => self.create_volume(key).await,
            Operation::CreateContainer { service, number, name, replaces } => {
                self.create(service, *number, name, replaces.as_ref()).await
            }
            Operation::Running { .. } => Ok(()),
            Operation::Start { service, name } => {
                container::start(self.client, name, self.hooks(service).0, self.said(name)).await
            }
            Operation::Init { service, names } => {
                init::run(self.client, self.loaded, service, names, self.board).await
            }
            Operation::Restart { service, name } => {
                let (after, before) = self.hooks(service);
                container::stop(self.client, name, self.timeout, before, self.said(name)).await?;
                container::start(self.client, name, after, self.said(name)).await
            }
            Operation::Stop { service, id, name } => {
                let hooks = self.hooks(service).1;
                container::stop(self.client, id, self.timeout, hooks, self.said(name)).await
            }
            Operation::Remove { id, volumes, .. } => {
                container::remove(self.client, id, *volumes).await
            }
            Operation::Wait { service, names, condition, .. } => {
                for name in names {
                    wait(self.client, service, name, *condition).await?;
                }
                Ok(())
            }
            Operation::RemoveNetwork { name } => {
                self.delete(&format!("/networks/{}", segment(name))).await
            }
            Operation::RemoveVolume { name } => {
                self.delete(&format!("/volumes/{}", segment(name))).await
            }
        }
    }

    /// `post_start` and `pre_stop` of a service.
    fn hooks<'s>(&'s self, name: &'s str) -> (Hooks<'s>, Hooks<'s>) {
        match self.loaded.project.services.get(name) {
            Some(service) => ((name, &service.post_start), (name, &service.pre_stop)),
            None => ((name, &[]), (name, &[])),
        }
    }

    /// Where goes what the hooks of a container print.
    fn said(&self, name: &str) -> Said<'_> {
        let own = name.strip_prefix(&self.loaded.desired.project);
        self.board.hooks(own.and_then(|own| own.strip_prefix('-')).unwrap_or(name))
    }

    async fn create_network(&self, key: &str) -> Result<()> {
        let Some(network) = self.loaded.desired.networks.get(key) else { return Ok(()) };
        let body = serde_json::to_value(&network.request)?;
        self.make("/networks/create", &body).await?;
        // Before anybody is on it.
        let policies = compose::policies(&self.loaded.project).map_err(|what| anyhow!(what))?;
        match policies.get(key) {
            Some(rules) => self.admit(key, rules).await,
            None => Ok(()),
        }
    }

    /// Who may talk to whom on a network, as the file says it; what others said stays.
    async fn admit(&self, key: &str, rules: &[PolicyRule]) -> Result<()> {
        let Some(network) = self.loaded.desired.networks.get(key) else { return Ok(()) };
        let name = &network.request.name;
        let there = policy::read(self.client, name).await?;
        let wanted = with_own(&there, &self.loaded.project.name, rules);
        if wanted != there {
            policy::write(self.client, name, &wanted).await?;
        }
        Ok(())
    }

    async fn create_volume(&self, key: &str) -> Result<()> {
        let Some(volume) = self.loaded.desired.volumes.get(key) else { return Ok(()) };
        let body = serde_json::to_value(&volume.request)?;
        self.make("/volumes/create", &body).await
    }

    /// Somebody else may have made it in the meantime.
    async fn make(&self, path: &str, body: &Value) -> Result<()> {
        match self.client.json(Method::POST, path, &Query::new(), Some(body)).await {
            Err(err) if err.status() == Some(409) => Ok(()),
            other => other.map(drop).map_err(Into::into),
        }
    }

    async fn delete(&self, path: &str) -> Result<()> {
        match self.client.json(Method::DELETE, path, &Query::new(), None).await {
            Err(err) if err.status() == Some(404) => Ok(()),
            other => other.map(drop).map_err(Into::into),
        }
    }

    /// A new container; its predecessor is moved aside first, and back when the new one cannot be made.
    async fn create(
        &self,
        service: &str,
        number: u32,
        name: &str,
        replaces: Option<&Replaced>,
    ) -> Result<()> {
        let desired = &self.loaded.desired;
        let Some(wanted) = desired.services.get(service) else { return Ok(()) };
        let Some(old) = replaces else {
            let request = wanted.request(name, number, &Default::default());
            return container::create(self.client, &desired.project, wanted, request)
                .await
                .map(drop);
        };
        let aside = format!("{}_{}", old.id.get(..12).unwrap_or(&old.id), old.name);
        self.rename(&old.id, &aside).await?;
        let request = wanted.request(name, number, &old.inherit);
        let made = container::create(self.client, &desired.project, wanted, request).await;
        if let Err(err) = made {
            let _ = self.rename(&old.id, &old.name).await;
            return Err(err);
        }
        let hooks = self.hooks(service).1;
        container::stop(self.client, &old.id, self.timeout, hooks, self.said(name)).await?;
        container::remove(self.client, &old.id, old.drop_volumes).await
    }

    async fn rename(&self, id: &str, name: &str) -> Result<()> {
        container::post(self.client, id, "rename", Query::new().with("name", name)).await
    }
}

/// Until a container is in the condition, or can no longer come into it.
pub(super) async fn wait(
    client: &Client,
    service: &str,
    name: &str,
    condition: Condition,
) -> Result<()> {
    for look in 0u32.. {
        let state = container::state(client, name).await?;
        let running = state["Running"] == json!(true);
        let code = state["ExitCode"].as_i64().unwrap_or(0);
        let health = state["Health"]["Status"].as_str();
        match condition {
            Condition::Started if running => return Ok(()),
            Condition::Healthy => match health {
                Some("healthy") => return Ok(()),
                Some("unhealthy") => {
                    bail!("{FAILED}container {name} is unhealthy")
                }
                None | Some("none") if running && look >= LOOKS => {
                    bail!("{FAILED}container {name} has no healthcheck configured")
                }
                _ if state["Status"] == json!("exited") => {
                    bail!("{FAILED}container {name} exited ({code})")
                }
                _ => {}
            },
            Condition::CompletedSuccessfully if state["Status"] == json!("exited") => {
                if code == 0 {
                    return Ok(());
                }
                bail!("service {service:?} didn't complete successfully: exit {code}");
            }
            Condition::Started if state["Status"] == json!("exited") => {
                bail!("container {name} exited ({code})")
            }
            _ => {}
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Whether a container may begin to run.
fn starts(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::CreateContainer { .. }
            | Operation::Init { .. }
            | Operation::Start { .. }
            | Operation::Restart { .. }
    )
}

fn optional(operation: &Operation) -> bool {
    matches!(operation, Operation::Wait { required: false, .. })
}

/// `Container plana-redis-1`: the object of an operation.
pub(super) fn object(operation: &Operation) -> String {
    match operation {
        Operation::CreateNetwork { name, .. } | Operation::RemoveNetwork { name } => {
            format!("Network {name}")
        }
        Operation::CreateVolume { name, .. } | Operation::RemoveVolume { name } => {
            format!("Volume {name}")
        }
        Operation::Wait { names, .. } => format!("Container {}", names.join(", ")),
        Operation::Init { service, .. } => format!("Service {service}"),
        Operation::CreateContainer { name, .. }
        | Operation::Running { name, .. }
        | Operation::Start { name, .. }
        | Operation::Restart { name, .. }
        | Operation::Stop { name, .. }
        | Operation::Remove { name, .. } => format!("Container {name}"),
    }
}

/// Compose's words while it goes on and when it is done.
pub(super) fn words(operation: &Operation) -> (&'static str, &'static str) {
    match operation {
        Operation::CreateContainer { replaces: Some(_), .. } => ("Recreate", "Recreated"),
        Operation::CreateNetwork { .. }
        | Operation::CreateVolume { .. }
        | Operation::CreateContainer { .. } => ("Creating", "Created"),
        Operation::Running { .. } => ("Running", "Running"),
        Operation::Start { .. } => ("Starting", "Started"),
        Operation::Init { .. } => ("Initializing", "Initialized"),
        Operation::Restart { .. } => ("Restarting", "Started"),
        Operation::Stop { .. } => ("Stopping", "Stopped"),
        Operation::Remove { .. }
        | Operation::RemoveNetwork { .. }
        | Operation::RemoveVolume { .. } => ("Removing", "Removed"),
        Operation::Wait { condition: Condition::Healthy, .. } => ("Waiting", "Healthy"),
        Operation::Wait { condition: Condition::CompletedSuccessfully, .. } => {
            ("Waiting", "Exited")
        }
        Operation::Wait { .. } => ("Waiting", "Started"),
    }
}
