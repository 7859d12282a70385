//! The end of a deployment: every service converged, or why it will not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use compose::stack::{Asked, DEPLOYMENT, NAMESPACE, Verdict, judge, progress};
use serde_json::json;
use types::swarm::service::{Service, ServiceSpec};
use types::swarm::task::Task;

use super::{deployments, labelled, observe};
use crate::client::{Client, Query};
use crate::ctx::Ctx;
use crate::opts;
use crate::report::{self, Exit};
use crate::service::progress::Board;

const PAUSE: Duration = Duration::from_millis(200);
/// How long tasks must run before they count, unless the service says otherwise. Docker's.
const MONITOR: Duration = Duration::from_secs(5);

/// `stack wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Suppress progress output
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Wait no longer than this, and fail (for example "5m")
    #[arg(long, value_name = "duration", value_parser = opts::duration)]
    timeout: Option<i64>,
    #[arg(value_name = "STACK")]
    stack: String,
}

/// How long, and how loud.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) quiet: bool,
    /// Without end when absent.
    pub(super) nanos: Option<i64>,
}

/// `stack wait`: for what was asked of every service last.
pub(super) async fn run(ctx: &Ctx, args: &WaitArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let services = observe::services(client, &args.stack).await?;
    if services.is_empty() {
        bail!("nothing found in stack: {}", args.stack);
    }
    let wish = |service: &Service| Wish::of(&service.spec, Asked::Update);
    let asked = services.iter().map(|service| (service.id.to_string(), wish(service))).collect();
    let patience = Patience { quiet: args.quiet, nanos: args.timeout };
    until_ended(client, &args.stack, &asked, patience).await
}

/// What was asked of a service.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    name: String,
    asked: Asked,
    /// The label of its deployment. While an update goes on or has ended well, another one says that somebody else came after.
    number: Option<String>,
}

impl Wish {
    /// Of the spec that was sent, or is there.
    pub(super) fn of(spec: &ServiceSpec, asked: Asked) -> Self {
        let number = spec.labels.get(DEPLOYMENT).cloned().filter(|_| asked == Asked::Update);
        Wish { name: spec.name.clone(), asked, number }
    }

    /// A service that is as it should be.
    pub(super) fn keep(name: &str, asked: Asked) -> Self {
        Wish { name: name.to_owned(), asked, number: None }
    }

    fn is_superseded(&self, service: &Service) -> bool {
        let back = |state: &str| state.starts_with("rollback");
        self.number.is_some()
            && self.number.as_ref() != service.spec.labels.get(DEPLOYMENT)
            && !service.update_status.as_ref().is_some_and(|status| back(&status.state))
    }
}

/// Waits until every service has come to be or will not; fails with the reasons of those that will not.
pub(super) async fn until_ended(
    client: &Client,
    stack: &str,
    asked: &BTreeMap<String, Wish>,
    patience: Patience,
) -> Result<Exit> {
    let began = Instant::now();
    let limit = patience.nanos.map(|nanos| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)));
    let mut watch =
        Watch { client, stack, asked, board: Board::new(patience.quiet), since: BTreeMap::new() };
    loop {
        let standing = watch.look().await?;
        let underway = standing.iter().any(|(_, stands)| matches!(stands, Stands::Underway(_)));
        if !underway {
            return watch.end(&standing);
        }
        if let Some(limit) = limit.filter(|limit| began.elapsed() >= *limit) {
            let late = standing.iter().filter_map(|(name, stands)| stands.missing(name));
            let late: Vec<String> = late.collect();
            let seconds = limit.as_secs_f64();
            bail!("deployment of stack {stack} timed out after {seconds}s:\n{}", late.join("\n"));
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = tokio::signal::ctrl_c() => {
                report::say("Operation continuing in background.")?;
                report::say(&format!("Use `sampan stack ps {stack}` to check progress."))?;
                return Ok(report::OK);
            }
        }
    }
}

/// How a service stands, with how long it has stood so.
enum Stands {
    Underway(String),
    Converged,
    Failed(String),
}

impl Stands {
    fn missing(&self, name: &str) -> Option<String> {
        match self {
            Stands::Underway(text) | Stands::Failed(text) => Some(format!("{name}: {text}")),
            Stands::Converged => None,
        }
    }
}

struct Watch<'a> {
    client: &'a Client,
    stack: &'a str,
    asked: &'a BTreeMap<String, Wish>,
    board: Board,
    /// Since when a service has been as it should be, by its id.
    since: BTreeMap<String, Instant>,
}

impl Watch<'_> {
    async fn look(&mut self) -> Result<Vec<(String, Stands)>> {
        let label = format!("{NAMESPACE}={}", self.stack);
        let filters = json!({"label": {label: true}, "_up-to-date": {"true": true}}).to_string();
        let current = Query::new().with("filters", filters);
        let mut services = observe::services(self.client, self.stack).await?;
        let current = observe::tasks(self.client, &current).await?;
        let all = observe::tasks(self.client, &labelled(self.stack)).await?;
        services.sort_by(|one, other| one.spec.name.cmp(&other.spec.name));
        let ended = |service: &Service| {
            let status = service.update_status.as_ref();
            status.is_some_and(|it| it.state.starts_with("rollback") || it.state == "paused")
        };
        let reasons = match services.iter().any(ended) {
            true => deployments::reasons(self.client, self.stack).await?,
            false => BTreeMap::new(),
        };
        let mut standing = Vec::new();
        for service in &services {
            let Some(wish) = self.asked.get(service.id.as_str()) else { continue };
            if wish.is_superseded(service) {
                let why = "superseded by another deployment".to_owned();
                standing.push((service.spec.name.clone(), Stands::Failed(why)));
                continue;
            }
            let recorded = reasons.get(&service.spec.name).map(String::as_str);
            let (current, all) = (of(service, &current), of(service, &all));
            let stands = self.one(service, &current, &all, recorded, wish.asked)?;
            standing.push((service.spec.name.clone(), stands));
        }
        for (id, wish) in self.asked {
            if services.iter().all(|service| service.id.as_str() != id) {
                standing.push((wish.name.clone(), Stands::Failed("removed meanwhile".to_owned())));
            }
        }
        Ok(standing)
    }

    fn one(
        &mut self,
        service: &Service,
        current: &[&Task],
        all: &[&Task],
        recorded: Option<&str>,
        asked: Asked,
    ) -> Result<Stands> {
        let (there, wanted) = progress(service, current);
        let count = match wanted {
            Some(wanted) => format!("{there} out of {wanted} tasks"),
            None => "no task yet".to_owned(),
        };
        let verdict = judge(service, current, all, recorded, asked);
        let id = service.id.to_string();
        if verdict != Verdict::Converged {
            self.since.remove(&id);
        }
        let (line, stands) = match verdict {
            Verdict::Underway(why) if why.is_empty() => (count.clone(), Stands::Underway(count)),
            Verdict::Underway(why) => {
                let line = format!("{count}: {why}");
                (line.clone(), Stands::Underway(line))
            }
            Verdict::Converged if self.is_stable(service, &id, asked) => {
                (format!("{count}, converged"), Stands::Converged)
            }
            Verdict::Converged => (count.clone(), Stands::Underway(count)),
            Verdict::Failing(why) => (format!("{count}: {why}"), Stands::Failed(why)),
            Verdict::Failed(why) => (format!("failed: {why}"), Stands::Failed(why)),
        };
        self.board.line(&service.spec.name, &line)?;
        Ok(stands)
    }

    /// Whether it has been as it should be for long enough. An update that is complete was watched by the managers.
    fn is_stable(&mut self, service: &Service, id: &str, asked: Asked) -> bool {
        let watched = service.update_status.as_ref().is_some_and(|s| s.state == "completed");
        let is_job = service.job_status.is_some();
        if asked == Asked::Nothing || is_job || watched {
            return true;
        }
        let monitor = service.spec.update_config.as_ref().map_or(0, |config| config.monitor);
        let monitor = match u64::try_from(monitor) {
            Ok(nanos @ 1..) => Duration::from_nanos(nanos),
            _ => MONITOR,
        };
        self.since.entry(id.to_owned()).or_insert_with(Instant::now).elapsed() >= monitor
    }

    fn end(&mut self, standing: &[(String, Stands)]) -> Result<Exit> {
        let failed: Vec<String> = standing.iter().filter_map(|(name, s)| s.missing(name)).collect();
        if failed.is_empty() {
            self.board.line("verify", &format!("Stack {} converged", self.stack))?;
            return Ok(report::OK);
        }
        bail!("deployment of stack {} failed:\n{}", self.stack, failed.join("\n"))
    }
}

fn of<'t>(service: &Service, tasks: &'t [Task]) -> Vec<&'t Task> {
    tasks.iter().filter(|task| task.service_id == service.id).collect()
}
