//! `stack deploy`, `diff` and `rollback`: the plan, done or shown.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use compose::Project;
use compose::stack::{
    Asked, Blob, IMAGE, Known, Observed, Operation, Stack, StackOptions, StackPlan, configs_of,
    last_changed, outdated, plan, secrets_of,
};
use futures_util::future::join_all;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use types::swarm::service::ServiceSpec;

use super::file::{self, Files};
use super::wait::{self, Patience, Wish};
use super::{observe, text};
use crate::client::{Client, Query, image_segment};
use crate::compose::project;
use crate::ctx::Ctx;
use crate::network::policy;
use crate::opts;
use crate::report::{self, Exit};
use crate::service;

/// What to deploy, and how.
#[derive(Debug, Args)]
pub(crate) struct What {
    #[command(flatten)]
    files: Files,
    /// Prune services that are no longer referenced
    #[arg(long)]
    prune: bool,
    /// Query the registry to resolve image digest and supported platforms ("always", "changed", "never")
    #[arg(long, value_name = "string", default_value = "always", value_parser = ["always", "changed", "never"])]
    resolve_image: String,
    /// Send registry authentication details to Swarm agents
    #[arg(long)]
    with_registry_auth: bool,
    #[arg(value_name = "STACK")]
    stack: String,
}

/// `stack deploy`.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    waiting: Waiting,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Take images as they are instead of building them first
    #[arg(long)]
    no_build: bool,
}

/// Whether to wait for the end of a deployment.
#[derive(Debug, Clone, Args)]
pub(crate) struct Waiting {
    /// Exit immediately instead of waiting for the stack services to converge (default true)
    #[arg(short = 'd', long, value_name = "bool", num_args = 0..=1, require_equals = true,
        default_missing_value = "true", action = clap::ArgAction::Set)]
    detach: Option<bool>,
    /// Suppress progress output
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Wait no longer than this, and fail (for example "5m"); implies --detach=false
    #[arg(long, value_name = "duration", value_parser = opts::duration)]
    timeout: Option<i64>,
}

impl Waiting {
    fn patience(&self) -> Option<Patience> {
        let waits = !self.detach.unwrap_or(self.timeout.is_none());
        waits.then_some(Patience { quiet: self.quiet, nanos: self.timeout })
    }
}

/// `stack diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    what: What,
    /// Exit with 1 when something would change
    #[arg(long)]
    exit_code: bool,
}

/// `stack rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    waiting: Waiting,
    #[arg(value_name = "STACK")]
    stack: String,
}

/// `stack deploy`.
pub(super) async fn deploy(ctx: &Ctx, args: &DeployArgs) -> Result<Exit> {
    let (project, stack) = file::read(&args.what.files, &args.what.stack)?;
    let client = ctx.client().await?;
    let observed = observe::observe(client, &stack.name).await?;
    let mut options = StackOptions { prune: args.what.prune, ..StackOptions::default() };
    // what is missing must be told before an hour of building
    planned(&stack, &observed, &options)?;
    if !args.no_build && !args.dry_run {
        options.built = build(ctx, &project, &stack).await?;
    }
    options.images = resolved(ctx, &args.what.resolve_image, &stack, &observed, &options).await?;
    let plan = planned(&stack, &observed, &options)?;
    notes(&plan);
    if args.dry_run {
        report::print(&shown(&plan))?;
        return Ok(report::OK);
    }
    let asked = Deployment { ctx, client, stack: &stack, auth: args.what.with_registry_auth };
    let asked = asked.run(&plan).await?;
    clean(client, &stack.name).await?;
    match args.waiting.patience() {
        Some(patience) => wait::until_ended(client, &stack.name, &asked, patience).await,
        None => Ok(report::OK),
    }
}

/// `stack diff`.
pub(super) async fn diff(ctx: &Ctx, args: &DiffArgs) -> Result<Exit> {
    let (_, stack) = file::read(&args.what.files, &args.what.stack)?;
    let observed = observe::observe(ctx.client().await?, &stack.name).await?;
    let mut options = StackOptions { prune: args.what.prune, ..StackOptions::default() };
    options.images = resolved(ctx, &args.what.resolve_image, &stack, &observed, &options).await?;
    let plan = planned(&stack, &observed, &options)?;
    notes(&plan);
    let changes = shown(&plan);
    report::print(&changes)?;
    Ok(if args.exit_code && !changes.is_empty() { report::FAILED } else { report::OK })
}

/// `stack rollback`.
pub(super) async fn rollback(ctx: &Ctx, args: &RollbackArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let services = observe::services(client, &args.stack).await?;
    if services.is_empty() {
        bail!("nothing found in stack: {}", args.stack);
    }
    let (back, made) = last_changed(&services);
    for name in made {
        eprintln!(
            "Service {name} was created by the last deployment: it has nothing to go back to"
        );
    }
    if back.is_empty() {
        bail!("the last deployment of stack {} has nothing to go back to", args.stack);
    }
    let mut asked = BTreeMap::new();
    for service in back {
        report::say(&format!("Rolling back service {} (id: {})", service.spec.name, service.id))?;
        let query = Query::new().with("rollback", "previous");
        service::put(client, &serde_json::to_value(service)?, query, HeaderMap::new()).await?;
        asked.insert(service.id.to_string(), Wish::of(&service.spec, Asked::Rollback));
    }
    match args.waiting.patience() {
        Some(patience) => wait::until_ended(client, &args.stack, &asked, patience).await,
        None => Ok(report::OK),
    }
}

fn planned(stack: &Stack, observed: &Observed, options: &StackOptions) -> Result<StackPlan> {
    plan(stack, observed, options).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow!(lines.join("\n"))
    })
}

fn notes(plan: &StackPlan) {
    for note in &plan.notes {
        eprintln!("{note}");
    }
}

/// Builds what the file says how to build, and gives the images' ids.
async fn build(ctx: &Ctx, project: &Project, stack: &Stack) -> Result<BTreeMap<String, String>> {
    let mut built = BTreeMap::new();
    if !stack.services.values().any(|service| service.builds) {
        return Ok(built);
    }
    project::build_all(ctx, project, false).await?;
    for service in stack.services.values().filter(|service| service.builds) {
        let path = format!("/images/{}/json", image_segment(&service.image));
        let image = ctx.client().await?.get(&path, &Query::new()).await?;
        built.insert(service.image.clone(), text(&image["Id"]).to_owned());
    }
    Ok(built)
}

/// What a registry says of the images: the digests by which all nodes take the same one. Where none answers, nothing is
/// known and nodes take what they have by that name.
async fn resolved(
    ctx: &Ctx,
    when: &str,
    stack: &Stack,
    observed: &Observed,
    options: &StackOptions,
) -> Result<BTreeMap<String, String>> {
    let unchanged: BTreeSet<&String> =
        observed.services.iter().filter_map(|service| service.spec.labels.get(IMAGE)).collect();
    let wanted: BTreeSet<&String> = stack
        .services
        .values()
        .map(|service| &service.image)
        .filter(|image| when != "never" && !image.contains('@'))
        .filter(|image| {
            let built = options.built.contains_key(*image);
            when == "always" || built || !unchanged.contains(*image)
        })
        .collect();
    let client = ctx.client().await?;
    let found = join_all(wanted.into_iter().map(|image| async move {
        Some((image.clone(), service::pin::pinned(ctx, client, image).await?))
    }));
    Ok(found.await.into_iter().flatten().collect())
}

/// The plan as lines: `+`, `~` and `-`.
fn shown(plan: &StackPlan) -> String {
    let mut out = String::new();
    for operation in &plan.operations {
        let line = match operation {
            Operation::RemoveService { name, .. } => format!("- service {name}"),
            Operation::CreateNetwork { name, .. } => format!("+ network {name}"),
            Operation::SetPolicies { network, rules } => {
                let rules = rules.iter().map(|rule| format!("\n    {rule}"));
                format!("~ policies of network {network}{}", rules.collect::<String>())
            }
            Operation::CreateSecret { name, .. } => format!("+ secret {name}"),
            Operation::CreateConfig { name, .. } => format!("+ config {name}"),
            Operation::CreateService { spec, .. } => format!("+ service {}", spec.name),
            Operation::UpdateService { spec, differences, .. } => {
                let mut lines = vec![format!("~ service {}", spec.name)];
                lines.extend(differences.iter().map(|difference| {
                    let (old, new) = (value(&difference.old), value(&difference.new));
                    format!("    {}: {old} → {new}", difference.field)
                }));
                lines.join("\n")
            }
            Operation::UpdateSecret { .. }
            | Operation::UpdateConfig { .. }
            | Operation::Keep { .. } => continue,
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

fn value(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A plan on its way.
struct Deployment<'a> {
    ctx: &'a Ctx,
    client: &'a Client,
    stack: &'a Stack,
    auth: bool,
}

impl Deployment<'_> {
    /// Does everything in its order; services at the same time. Answers what was asked of which service.
    async fn run(&self, plan: &StackPlan) -> Result<BTreeMap<String, Wish>> {
        for operation in &plan.operations {
            self.before_services(operation).await?;
        }
        let secrets = observe::known(self.client, "/secrets").await?;
        let configs = observe::known(self.client, "/configs").await?;
        let mut sent = Vec::new();
        for operation in &plan.operations {
            match operation {
                Operation::CreateService { spec, .. } => {
                    report::say(&format!("Creating service {}", spec.name))?;
                }
                Operation::UpdateService { spec, id, .. } => {
                    report::say(&format!("Updating service {} (id: {id})", spec.name))?;
                }
                Operation::Keep { .. } => {}
                _ => continue,
            }
            sent.push(self.service(operation, &secrets, &configs));
        }
        let mut asked = BTreeMap::new();
        for outcome in join_all(sent).await {
            asked.extend(outcome?);
        }
        Ok(asked)
    }

    async fn before_services(&self, operation: &Operation) -> Result<()> {
        let (stack, client) = (self.stack, self.client);
        match operation {
            Operation::RemoveService { id, name } => {
                report::say(&format!("Removing service {name}"))?;
                let path = format!("/services/{id}");
                client.json(Method::DELETE, &path, &Query::new(), None).await?;
            }
            Operation::CreateNetwork { key, name } => {
                report::say(&format!("Creating network {name}"))?;
                let Some(network) = stack.networks.get(key) else { return Ok(()) };
                let body = serde_json::to_value(&network.request)?;
                let path = "/networks/create";
                let made = client.json(Method::POST, path, &Query::new(), Some(&body)).await;
                made.with_context(|| format!("failed to create network {name}"))?;
            }
            Operation::SetPolicies { network, rules } => {
                let set = policy::write(client, network, rules).await;
                set.with_context(|| format!("failed to set the policies of network {network}"))?;
            }
            Operation::CreateSecret { key, name } => {
                report::say(&format!("Creating secret {name}"))?;
                self.blob("/secrets/create", stack.secrets.get(key), name, None).await?;
            }
            Operation::CreateConfig { key, name } => {
                report::say(&format!("Creating config {name}"))?;
                self.blob("/configs/create", stack.configs.get(key), name, None).await?;
            }
            Operation::UpdateSecret { key, name, id } => {
                self.blob("/secrets", stack.secrets.get(key), name, Some(id)).await?;
            }
            Operation::UpdateConfig { key, name, id } => {
                self.blob("/configs", stack.configs.get(key), name, Some(id)).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Creates, or gives one whose name is the user's own its labels.
    async fn blob(
        &self,
        path: &str,
        blob: Option<&Blob>,
        name: &str,
        there: Option<&String>,
    ) -> Result<()> {
        let Some(blob) = blob else { return Ok(()) };
        let data = STANDARD.encode(&blob.data);
        let body = json!({"Name": name, "Labels": blob.labels, "Data": data});
        let (path, query) = match there {
            None => (path.to_owned(), Query::new()),
            Some(id) => {
                let known = self.client.get(&format!("{path}/{id}"), &Query::new()).await?;
                // a config can be read, so that a changed one is told from one that is the same
                let old = known["Spec"]["Data"].as_str();
                if old.is_some_and(|old| old != body["Data"]) {
                    bail!("failed to update config {name}: only updates to Labels are allowed");
                }
                let version = known["Version"]["Index"].to_string();
                (format!("{path}/{id}/update"), Query::new().with("version", version))
            }
        };
        let done = self.client.json(Method::POST, &path, &query, Some(&body)).await;
        done.with_context(|| format!("failed to write {name}"))?;
        Ok(())
    }

    async fn service(
        &self,
        operation: &Operation,
        secrets: &BTreeMap<String, Known>,
        configs: &BTreeMap<String, Known>,
    ) -> Result<Option<(String, Wish)>> {
        match operation {
            Operation::CreateService { spec, .. } => {
                let body = serde_json::to_value(with_ids(spec, secrets, configs)?)?;
                let auth = service::registry_auth(self.ctx, self.auth, &body)?;
                let (path, query) = ("/services/create", Query::new());
                let made = self.client.json_with(Method::POST, path, &query, auth, &body).await;
                let made =
                    made.with_context(|| format!("failed to create service {}", spec.name))?;
                Ok(Some((text(&made["ID"]).to_owned(), Wish::of(spec, Asked::Update))))
            }
            Operation::UpdateService { id, version, spec, .. } => {
                let spec = with_ids(spec, secrets, configs)?;
                let service = json!({"ID": id, "Version": {"Index": version}, "Spec": spec});
                let auth = service::registry_auth(self.ctx, self.auth, &service["Spec"])?;
                let query = Query::new().with("registryAuthFrom", "spec");
                let done = service::put(self.client, &service, query, auth).await;
                done.with_context(|| format!("failed to update service {}", spec.name))?;
                Ok(Some((id.clone(), Wish::of(&spec, Asked::Update))))
            }
            Operation::Keep { key, id, asked } => {
                let name = self.stack.services.get(key).map_or("", |service| &service.spec.name);
                Ok(Some((id.clone(), Wish::keep(name, *asked))))
            }
            _ => Ok(None),
        }
    }
}

/// Secrets and configs by the ids that the cluster gave them.
fn with_ids(
    spec: &ServiceSpec,
    secrets: &BTreeMap<String, Known>,
    configs: &BTreeMap<String, Known>,
) -> Result<ServiceSpec> {
    let mut spec = spec.clone();
    let id = |known: &BTreeMap<String, Known>, kind: &str, name: &str| match known.get(name) {
        Some(known) => Ok(known.id.clone()),
        None => Err(anyhow!("{kind} not found: {name}")),
    };
    if let Some(container) = &mut spec.task_template.container_spec {
        for secret in &mut container.secrets {
            secret.secret_id = id(secrets, "secret", &secret.secret_name)?;
        }
        for config in &mut container.configs {
            config.config_id = id(configs, "config", &config.config_name)?;
        }
    }
    Ok(spec)
}

/// The names of the secrets or configs in a spec.
type Names = fn(&ServiceSpec) -> Vec<String>;

/// Removes versions of secrets and configs that nothing uses and nothing would be rolled back to.
async fn clean(client: &Client, stack: &str) -> Result<()> {
    let services = observe::services(client, stack).await?;
    let kinds: [(&str, Names); 2] = [("/secrets", secrets_of), ("/configs", configs_of)];
    for (path, used) in kinds {
        let known = observe::known(client, path).await?;
        for (_, old) in outdated(stack, &known, &services, used) {
            let path = format!("{path}/{}", old.id);
            // another service may use it: it then stays
            let _ = client.json(Method::DELETE, &path, &Query::new(), None).await;
        }
    }
    Ok(())
}
