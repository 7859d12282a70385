//! `watch`: changes of files on this machine become changes of containers.
//!
//! ```text
//! kernel ─wake─▶ scan ─diff─▶ changes of each rule ─▶ copy, restart, run or rebuild
//! ```
//! The kernel's notices only wake: what changed is the difference between two scans, so that none can be missed.

mod files;
mod notice;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use compose::model::Hook;
use http::Method;
use serde_json::Value;

use super::args::{Build, Converge, ProjectFlags, Up, Watch};
use super::board::Board;
use super::container::Said;
use super::project::{self, Loaded};
use super::{build, container, observe, up};
use crate::client::{Client, Query, segment};
use crate::ctx::Ctx;
use crate::report::{self, Exit};
use crate::tarball;
use files::{Changes, Snapshot};
use notice::Notice;

/// One rule of `develop.watch`, and what its files were when last looked at.
struct Rule {
    service: String,
    rule: compose::model::Watch,
    filter: files::Filter,
    seen: Snapshot,
}

/// `compose watch`.
pub(super) async fn watch(ctx: &Ctx, flags: &ProjectFlags, args: Watch) -> Result<Exit> {
    let loaded = project::project(flags, &args.services)?;
    loaded.check(&args.services)?;
    if !loaded.closure(&args.services, true).iter().any(|name| watched(&loaded, name)) {
        bail!(
            "none of the selected services is configured for watch, consider setting a 'develop' section"
        );
    }
    if !args.no_up {
        let converge = Converge { build: true, quiet_build: args.quiet, ..Converge::default() };
        let words = Up { converge, services: args.services.clone(), detach: true, ..Up::default() };
        up::up(ctx, flags, words).await?;
    }
    tokio::select! {
        ended = follow(ctx, flags, &loaded, &args.services, args.quiet) => ended?,
        done = tokio::signal::ctrl_c() => done?,
    }
    Ok(report::OK)
}

fn watched(loaded: &Loaded, name: &str) -> bool {
    let service = loaded.project.services.get(name);
    service.is_some_and(|service| !service.develop.watch.is_empty())
}

/// Follows the rules of the named services (all when none) for ever.
pub(super) async fn follow(
    ctx: &Ctx,
    flags: &ProjectFlags,
    loaded: &Loaded,
    services: &[String],
    quiet: bool,
) -> Result<()> {
    let mut rules = rules(loaded, services)?;
    let mut notice = Notice::new()?;
    for rule in &mut rules {
        rule.seen = files::scan(Path::new(&rule.rule.path), &rule.filter, &mut notice)?;
    }
    for rule in rules.iter().filter(|rule| rule.rule.initial_sync) {
        let all = Changes { changed: rule.seen.keys().cloned().collect(), removed: Vec::new() };
        copy(ctx.client().await?, loaded, rule, &all).await?;
    }
    say("Watch enabled")?;
    loop {
        notice.wait().await?;
        let mut changed = Vec::new();
        for (index, rule) in rules.iter_mut().enumerate() {
            let now = files::scan(Path::new(&rule.rule.path), &rule.filter, &mut notice)?;
            let changes = files::diff(&rule.seen, &now);
            rule.seen = now;
            if !changes.is_empty() {
                changed.push((index, changes));
            }
        }
        let work = Work { ctx, flags, loaded, rules: &rules, quiet };
        let began = Instant::now();
        // a change that cannot be carried over is said, and the next one may mend it
        if let Err(err) = work.act(&changed).await {
            eprintln!("{}", report::text(&err));
        }
        if flags.verbose && !changed.is_empty() {
            let count: usize = changed.iter().map(|(_, changes)| changes.count()).sum();
            eprintln!("DEBU: batch complete: duration[{:?}] count[{count}]", began.elapsed());
        }
    }
}

fn rules(loaded: &Loaded, services: &[String]) -> Result<Vec<Rule>> {
    let mut out = Vec::new();
    for name in loaded.closure(services, true) {
        let Some(service) = loaded.project.services.get(&name) else { continue };
        let context = service.build.as_ref().map(|build| PathBuf::from(&build.context));
        for rule in &service.develop.watch {
            if rule.action == "rebuild" && context.is_none() {
                bail!("can't watch service {name:?} with action rebuild without a build context");
            }
            let filter = files::Filter::new(rule, context.as_deref())?;
            out.push(Rule {
                service: name.clone(),
                rule: rule.clone(),
                filter,
                seen: Snapshot::new(),
            });
        }
    }
    Ok(out)
}

/// What acting on changes needs.
struct Work<'a> {
    ctx: &'a Ctx,
    flags: &'a ProjectFlags,
    loaded: &'a Loaded,
    rules: &'a [Rule],
    quiet: bool,
}

impl Work<'_> {
    /// A service that is rebuilt needs nothing else.
    async fn act(&self, changed: &[(usize, Changes)]) -> Result<()> {
        let pairs = || changed.iter().map(|(index, changes)| (&self.rules[*index], changes));
        let rebuilt: BTreeSet<&str> = pairs()
            .filter(|(rule, _)| rule.rule.action == "rebuild")
            .map(|(rule, _)| rule.service.as_str())
            .collect();
        let client = self.ctx.client().await?;
        let mut restarted = BTreeSet::new();
        for (rule, changes) in pairs().filter(|(rule, _)| !rebuilt.contains(rule.service.as_str()))
        {
            let action = rule.rule.action.as_str();
            if action.starts_with("sync") {
                copy(client, self.loaded, rule, changes).await?;
            }
            match action {
                "restart" | "sync+restart" => {
                    restarted.insert(rule.service.as_str());
                }
                "sync+exec" => {
                    for row in running(client, self.loaded, &rule.service).await? {
                        run(client, &row, &rule.rule.exec, Said::Here).await?;
                    }
                }
                _ => {}
            }
        }
        for service in &restarted {
            for row in running(client, self.loaded, service).await? {
                container::post(client, observe::id(&row), "restart", Query::new()).await?;
            }
        }
        if !restarted.is_empty() {
            say(&format!("service(s) {} restarted", quoted(&restarted)))?;
        }
        if !rebuilt.is_empty() {
            self.rebuild(&rebuilt).await?;
        }
        Ok(())
    }

    async fn rebuild(&self, services: &BTreeSet<&str>) -> Result<()> {
        let names = quoted(services);
        say(&format!("Rebuilding service(s) {names} after changes were detected..."))?;
        let args = Build { quiet: self.quiet, ..Build::default() };
        for service in services {
            build::build_one(self.ctx, self.loaded, service, &args).await?;
        }
        let options = compose::plan::UpOptions {
            services: services.iter().map(|service| (*service).to_owned()).collect(),
            no_deps: true,
            ..Default::default()
        };
        let board = Board::new(self.flags);
        let converge = Converge { no_build: true, ..Converge::default() };
        up::bring_up(self.ctx, self.flags, self.loaded, &converge, &options, &board, None).await?;
        say(&format!("service(s) {names} successfully built"))?;
        Ok(())
    }
}

/// A line of the watch, beside those of containers.
fn say(line: &str) -> std::io::Result<()> {
    report::say(&format!("    ⦿ {line}"))
}

/// `["db" "web"]`: as Go prints a list of words.
fn quoted(names: &BTreeSet<&str>) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    format!("[{}]", names.join(" "))
}

async fn running(client: &Client, loaded: &Loaded, service: &str) -> Result<Vec<Value>> {
    let mut rows = observe::rows(client, &loaded.desired.project, false).await?;
    rows.retain(|row| observe::service(row) == service && row["State"] == "running");
    Ok(rows)
}

/// Carries a rule's changes over into every running container of its service.
async fn copy(client: &Client, loaded: &Loaded, rule: &Rule, changes: &Changes) -> Result<()> {
    let count = changes.count();
    let rows = running(client, loaded, &rule.service).await?;
    say(&format!("Syncing service {:?} after {count} changes were detected", rule.service))?;
    let place = |name: &str| match name {
        "" => rule.rule.target.clone(),
        name => format!("{}/{name}", rule.rule.target.trim_end_matches('/')),
    };
    for row in rows {
        let id = observe::id(&row);
        let gone: Vec<String> = changes.removed.iter().map(|name| place(name)).collect();
        if !gone.is_empty() {
            let command = ["rm", "-rf", "--"].map(str::to_owned).into_iter().chain(gone).collect();
            run(client, &row, &Hook { command, ..Hook::default() }, Said::Nowhere).await?;
        }
        let archive = files::archive(Path::new(&rule.rule.path), &changes.changed, place)
            .with_context(|| format!("cannot read below {}", rule.rule.path))?;
        let path = format!("/containers/{}/archive", segment(id));
        let body = tarball::reader_body(std::io::Cursor::new(archive));
        let query = Query::new().with("path", "/");
        client.send(Method::PUT, &path, &query, Default::default(), body).await?;
    }
    Ok(())
}

async fn run(client: &Client, row: &Value, hook: &Hook, said: Said<'_>) -> Result<()> {
    let hooks = (observe::service(row), std::slice::from_ref(hook));
    container::run_hooks(client, observe::id(row), hooks, said).await
}
