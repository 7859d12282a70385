//! `up`, `create`, `down`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use compose::model::Condition;
use compose::plan::{self, DownOptions, Plan, Recreate, UpOptions};
use http::Method;

use super::args::{Converge, Create, Down, ProjectFlags, Up};
use super::board::{Board, Mark};
use super::execute::{self, Executor};
use super::project::{self, Loaded};
use super::{attached, build, observe, watch};
use crate::client::{Client, Query, image_segment};
use crate::clock;
use crate::ctx::Ctx;
use crate::report::{self, Exit};
use crate::terminal;

/// `compose up`.
pub(super) async fn up(ctx: &Ctx, flags: &ProjectFlags, args: Up) -> Result<Exit> {
    let aborts = args.abort_on_container_exit || args.abort_on_container_failure;
    if args.detach && (aborts || args.exit_code_from.is_some()) {
        bail!("--detach cannot be combined with --abort-on-container-exit or --exit-code-from");
    }
    let loaded = project::project(flags, &args.services)?;
    loaded.check(&args.services)?;
    let options = UpOptions {
        services: args.services.clone(),
        no_deps: args.no_deps,
        renew_anon_volumes: args.renew_anon_volumes,
        no_start: args.no_start,
        always_recreate_deps: args.always_recreate_deps,
        all_resources: flags.all_resources,
        ..converge(&args.converge, &loaded)?
    };
    let began = clock::now_seconds();
    let attached = !(args.detach || args.wait || args.no_start);
    let board = match attached {
        true => Board::new(flags).with_hooks(),
        false => Board::new(flags),
    };
    bring_up(ctx, flags, &loaded, &args.converge, &options, &board, args.timeout).await?;
    if flags.dry_run || args.no_start {
        return Ok(report::OK);
    }
    if args.wait {
        let names = loaded.closure(&args.services, args.no_deps);
        return wait_for(ctx, &loaded, &names, args.wait_timeout, &board).await;
    }
    drop(board);
    if args.detach {
        return Ok(report::OK);
    }
    if args.watch {
        let follow = watch::follow(ctx, flags, &loaded, &args.services, args.converge.quiet_build);
        return tokio::select! {
            ended = attached::run(ctx, flags, &loaded, &args, began) => ended,
            failed = follow => failed.map(|()| report::OK),
        };
    }
    attached::run(ctx, flags, &loaded, &args, began).await
}

/// `compose create`.
pub(super) async fn create(ctx: &Ctx, flags: &ProjectFlags, args: Create) -> Result<Exit> {
    let loaded = project::project(flags, &args.services)?;
    loaded.check(&args.services)?;
    let options = UpOptions {
        services: args.services.clone(),
        no_start: true,
        all_resources: flags.all_resources,
        ..converge(&args.converge, &loaded)?
    };
    let board = Board::new(flags).titled("Creating");
    bring_up(ctx, flags, &loaded, &args.converge, &options, &board, None).await?;
    Ok(report::OK)
}

fn converge(flags: &Converge, loaded: &Loaded) -> Result<UpOptions> {
    let recreate = match (flags.force_recreate, flags.no_recreate) {
        (true, _) => Recreate::Force,
        (_, true) => Recreate::Never,
        _ => Recreate::Diverged,
    };
    let mut scale = BTreeMap::new();
    for word in &flags.scale {
        let pair =
            word.split_once('=').and_then(|(name, count)| Some((name, count.parse::<u32>().ok()?)));
        let (name, count) =
            pair.ok_or_else(|| anyhow!("invalid --scale option {word:?}. Should be SERVICE=NUM"))?;
        scale.insert(name.to_owned(), count);
    }
    let asked = |name: &str| {
        let word = loaded.project.environment.get(name).map(String::as_str);
        word.is_some_and(|word| matches!(word, "1" | "t" | "T" | "true" | "TRUE" | "True"))
    };
    let remove_orphans = flags.remove_orphans || asked("COMPOSE_REMOVE_ORPHANS");
    let ignore_orphans = asked("COMPOSE_IGNORE_ORPHANS");
    Ok(UpOptions { recreate, scale, remove_orphans, ignore_orphans, ..UpOptions::default() })
}

/// Images, then the plan, then the plan's steps. With `--dry-run` the plan is printed instead.
pub(super) async fn bring_up(
    ctx: &Ctx,
    flags: &ProjectFlags,
    loaded: &Loaded,
    converge: &Converge,
    options: &UpOptions,
    board: &Board,
    timeout: Option<i64>,
) -> Result<()> {
    let client = ctx.client().await?;
    if !flags.dry_run {
        let names = loaded.closure(&options.services, options.no_deps);
        build::ensure(ctx, loaded, &names, converge, board).await?;
    }
    let observed = observe::observe(client, &loaded.desired).await?;
    let mut plan = plan::plan(&loaded.desired, &observed, options)?;
    if !plan.changed_volumes.is_empty() && renew(&plan, converge, flags, board)? {
        let options = UpOptions { renew_volumes: true, ..options.clone() };
        plan = plan::plan(&loaded.desired, &observed, &options)?;
    }
    run(client, flags, loaded, &plan, board, timeout).await
}

/// Whether volumes whose settings changed may be made anew: `-y`, or a person's word. Data is never lost unasked.
fn renew(plan: &Plan, converge: &Converge, flags: &ProjectFlags, board: &Board) -> Result<bool> {
    let question = |name: &str| {
        format!("Volume {name:?} exists but doesn't match configuration in compose file.")
    };
    if converge.yes || flags.dry_run || !std::io::stdin().is_terminal() {
        for name in &plan.changed_volumes {
            let way = if converge.yes {
                "Recreating it."
            } else {
                "It is left as it is; --yes recreates it."
            };
            board.note(&format!("WARN: {} {way}", question(name)));
        }
        return Ok(converge.yes);
    }
    for name in &plan.changed_volumes {
        if !terminal::confirm(&format!("{} Recreate (data will be lost)?", question(name)))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Runs a plan, or prints it.
pub(super) async fn run(
    client: &Client,
    flags: &ProjectFlags,
    loaded: &Loaded,
    plan: &Plan,
    board: &Board,
    timeout: Option<i64>,
) -> Result<()> {
    if !flags.dry_run {
        let parallel = usize::try_from(flags.parallel).ok().filter(|limit| *limit > 0);
        return Executor { client, loaded, board, timeout, parallel }.run(plan).await;
    }
    for warning in &plan.warnings {
        eprintln!("WARN: {warning}");
    }
    for step in &plan.steps {
        let (working, _) = execute::words(&step.operation);
        report::say(&format!(" DRY-RUN MODE -  {}  {working}", execute::object(&step.operation)))?;
    }
    Ok(())
}

/// `--wait`: until every service runs, or is healthy where it says how.
pub(super) async fn wait_for(
    ctx: &Ctx,
    loaded: &Loaded,
    names: &[String],
    timeout: Option<u64>,
    board: &Board,
) -> Result<Exit> {
    let client = ctx.client().await?;
    let all = async {
        for row in observe::rows(client, &loaded.desired.project, false).await? {
            let (service, name) = (observe::service(&row), observe::name(&row));
            if !names.iter().any(|wanted| wanted == service) {
                continue;
            }
            let has_check = container_has_check(client, name).await?;
            // what others wait for the end of would never be seen running
            let once = ends(loaded, service);
            let (condition, done) = match (once, has_check) {
                (true, _) => (Condition::CompletedSuccessfully, "Exited"),
                (_, true) => (Condition::Healthy, "Healthy"),
                _ => (Condition::Started, "Started"),
            };
            let object = format!("Container {name}");
            board.say(&object, "Waiting", Mark::Working);
            execute::wait(client, service, name, condition).await?;
            board.say(&object, done, Mark::Done);
        }
        anyhow::Ok(())
    };
    match timeout {
        Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds), all)
            .await
            .map_err(|_| anyhow!("application not healthy after {seconds}s"))??,
        None => all.await?,
    }
    Ok(report::OK)
}

/// Whether a service is one whose end another one waits for.
fn ends(loaded: &Loaded, service: &str) -> bool {
    let waits = |other: &compose::model::Service| {
        let how = other.depends_on.get(service);
        how.is_some_and(|how| how.condition == Condition::CompletedSuccessfully)
    };
    loaded.project.services.values().any(waits)
}

async fn container_has_check(client: &Client, name: &str) -> Result<bool> {
    let state = super::container::state(client, name).await?;
    Ok(state["Health"]["Status"].as_str().is_some_and(|status| status != "none"))
}

/// `compose down`.
pub(super) async fn down(ctx: &Ctx, flags: &ProjectFlags, args: Down) -> Result<Exit> {
    let all_profiles = ProjectFlags { profiles: vec!["*".to_owned()], ..flags.clone() };
    let loaded = project::known(ctx, &all_profiles, &[]).await?;
    loaded.check(&args.services)?;
    let client = ctx.client().await?;
    let observed = observe::observe(client, &loaded.desired).await?;
    let options = DownOptions {
        services: args.services.clone(),
        remove_orphans: args.remove_orphans,
        volumes: args.volumes,
        keep: false,
    };
    let plan = plan::down(&loaded.desired, &observed, &options);
    let board = Board::new(flags);
    if plan.steps.is_empty() {
        let project = &loaded.desired.project;
        board.note(&format!("Warning: No resource found to remove for project {project:?}."));
    }
    run(client, flags, &loaded, &plan, &board, args.timeout).await?;
    if let Some(kind) = args.rmi.as_deref().filter(|_| !flags.dry_run) {
        remove_images(client, &loaded, kind, &args.services, &board).await?;
    }
    Ok(report::OK)
}

/// `--rmi`: all images, or those without a name of their own.
async fn remove_images(
    client: &Client,
    loaded: &Loaded,
    kind: &str,
    only: &[String],
    board: &Board,
) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for (name, service) in &loaded.desired.services {
        let named =
            loaded.project.services.get(name).is_some_and(|service| service.image.is_some());
        let chosen = only.is_empty() || only.contains(name);
        if !chosen || (kind == "local" && named) || !seen.insert(&service.image) {
            continue;
        }
        let object = format!("Image {}", service.image);
        let path = format!("/images/{}", image_segment(&service.image));
        match client.json(Method::DELETE, &path, &Query::new(), None).await {
            Ok(_) => board.say(&object, "Removed", Mark::Done),
            Err(err) if err.status() == Some(404) => {
                board.say(&object, "Warning: No resource found to remove", Mark::Warning);
            }
            Err(err) if err.status() == Some(409) => {
                board.say(&object, "Resource is still in use", Mark::Warning);
            }
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}
