//! Services that exist: `start`, `stop`, `restart`, `kill`, `pause`, `unpause`, `rm`, `wait`.

use anyhow::{Result, bail};
use compose::model::Condition;
use compose::plan::{self, DownOptions, Operation, Plan, Recreate, Step, UpOptions};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Method;
use serde_json::Value;

use super::args::{Down, Kill, Named, ProjectFlags, Restart, Rm, Start, Stop, Wait};
use super::board::{Board, Mark};
use super::project::{self, Loaded};
use super::{container, observe, up};
use crate::client::{Query, segment};
use crate::ctx::Ctx;
use crate::report::{self, Exit};
use crate::terminal;

/// The project and its containers of the named services.
async fn chosen(
    ctx: &Ctx,
    flags: &ProjectFlags,
    services: &[String],
) -> Result<(Loaded, Vec<Value>)> {
    let loaded = project::known(ctx, flags, services).await?;
    loaded.check(services)?;
    let client = ctx.client().await?;
    let mut rows = observe::rows(client, &loaded.desired.project, false).await?;
    rows.retain(|row| {
        let service = observe::service(row);
        let known = loaded.desired.services.contains_key(service);
        known && (services.is_empty() || services.iter().any(|name| name == service))
    });
    Ok((loaded, rows))
}

/// `compose start`: what is there, in order, waiting as `depends_on` says.
pub(super) async fn start(ctx: &Ctx, flags: &ProjectFlags, args: Start) -> Result<Exit> {
    let (loaded, rows) = chosen(ctx, flags, &args.services).await?;
    if rows.is_empty() {
        let names = if args.services.is_empty() {
            loaded.desired.project.clone()
        } else {
            args.services.join(", ")
        };
        bail!("no containers to start: {names}");
    }
    let client = ctx.client().await?;
    let observed = observe::observe(client, &loaded.desired).await?;
    let scale = loaded.desired.services.keys().map(|name| {
        let count = observed.containers.iter().filter(|c| c.service == *name && !c.oneoff).count();
        (name.clone(), u32::try_from(count).unwrap_or(u32::MAX))
    });
    let options = UpOptions {
        services: args.services.clone(),
        recreate: Recreate::Never,
        scale: scale.collect(),
        ..UpOptions::default()
    };
    let mut wanted = loaded.desired.clone();
    // starting makes no networks and volumes
    wanted.networks.clear();
    wanted.volumes.clear();
    let plan = plan::plan(&wanted, &observed, &options)?;
    let board = Board::new(flags);
    up::run(client, flags, &loaded, &plan, &board, None).await?;
    if args.wait && !flags.dry_run {
        let names = loaded.closure(&args.services, false);
        return up::wait_for(ctx, &loaded, &names, args.wait_timeout, &board).await;
    }
    Ok(report::OK)
}

/// `compose stop`: dependents first.
pub(super) async fn stop(ctx: &Ctx, flags: &ProjectFlags, args: Stop) -> Result<Exit> {
    let loaded = project::known(ctx, flags, &args.services).await?;
    loaded.check(&args.services)?;
    let board = Board::new(flags).titled("Stopping");
    stop_all(ctx, flags, &loaded, args.services, args.timeout, &board).await?;
    Ok(report::OK)
}

async fn stop_all(
    ctx: &Ctx,
    flags: &ProjectFlags,
    loaded: &Loaded,
    services: Vec<String>,
    timeout: Option<i64>,
    board: &Board,
) -> Result<()> {
    let client = ctx.client().await?;
    let observed = observe::observe(client, &loaded.desired).await?;
    let options = DownOptions { services, keep: true, ..DownOptions::default() };
    let plan = plan::down(&loaded.desired, &observed, &options);
    up::run(client, flags, loaded, &plan, board, timeout).await
}

/// `compose restart`.
pub(super) async fn restart(ctx: &Ctx, flags: &ProjectFlags, args: Restart) -> Result<Exit> {
    let loaded = project::known(ctx, flags, &args.services).await?;
    let mut services = args.services.clone();
    if !args.no_deps && !services.is_empty() {
        // those that asked to be restarted with what they depend on
        let dependents = loaded.desired.services.values().filter(|service| {
            service.depends_on.iter().any(|(on, how)| how.restart && args.services.contains(on))
        });
        services.extend(dependents.map(|service| service.name.clone()));
    }
    let (loaded, rows) = chosen(ctx, flags, &services).await?;
    let plan = Plan { steps: restarts(&loaded, &rows), ..Plan::default() };
    let board = Board::new(flags).titled("Restarting");
    up::run(ctx.client().await?, flags, &loaded, &plan, &board, args.timeout).await?;
    Ok(report::OK)
}

/// Each after those that it depends on, and once these are as it needs them.
fn restarts(loaded: &Loaded, rows: &[Value]) -> Vec<Step> {
    let of = |service: &str| -> Vec<usize> {
        let found = rows.iter().enumerate().filter(|(_, row)| observe::service(row) == service);
        found.map(|(index, _)| index).collect()
    };
    let restart = |row: &Value| Step {
        operation: Operation::Restart {
            service: observe::service(row).to_owned(),
            name: observe::name(row).to_owned(),
        },
        after: Default::default(),
    };
    let mut steps: Vec<Step> = rows.iter().map(restart).collect();
    for (name, service) in &loaded.desired.services {
        let own = of(name);
        for (on, how) in service.depends_on.iter().filter(|_| !own.is_empty()) {
            let mut before = of(on);
            if before.is_empty() {
                continue;
            }
            if how.condition != Condition::Started {
                let names = before.iter().map(|index| observe::name(&rows[*index]).to_owned());
                let operation = Operation::Wait {
                    service: on.clone(),
                    names: names.collect(),
                    condition: how.condition,
                    required: how.required,
                };
                steps.push(Step { operation, after: before.into_iter().collect() });
                before = vec![steps.len() - 1];
            }
            for index in &own {
                steps[*index].after.extend(before.iter().copied());
            }
        }
    }
    steps
}

/// Does one API word for each row at the same time.
async fn each(
    ctx: &Ctx,
    flags: &ProjectFlags,
    rows: &[&Value],
    word: &str,
    query: &Query,
    (working, finished): (&'static str, &str),
) -> Result<Exit> {
    let client = ctx.client().await?;
    let board = Board::new(flags).titled(working);
    let mut running: FuturesUnordered<_> = rows
        .iter()
        .map(|row| {
            let board = &board;
            async move {
                let object = format!("Container {}", observe::name(row));
                board.say(&object, working, Mark::Working);
                let done = container::post(client, observe::id(row), word, query.clone()).await;
                match &done {
                    Ok(()) => board.say(&object, finished, Mark::Done),
                    Err(_) => board.say(&object, "Error", Mark::Failed),
                }
                done
            }
        })
        .collect();
    let mut failure = None;
    while let Some(done) = running.next().await {
        if let Err(err) = done {
            failure.get_or_insert(err);
        }
    }
    failure.map_or(Ok(report::OK), Err)
}

/// `compose kill`.
pub(super) async fn kill(ctx: &Ctx, flags: &ProjectFlags, args: Kill) -> Result<Exit> {
    let (loaded, mut rows) = chosen(ctx, flags, &args.services).await?;
    if args.remove_orphans {
        let all = observe::rows(ctx.client().await?, &loaded.desired.project, false).await?;
        let orphan = |row: &Value| !loaded.desired.services.contains_key(observe::service(row));
        rows.extend(all.into_iter().filter(orphan));
    }
    let live: Vec<&Value> = rows.iter().filter(|row| row["State"] == "running").collect();
    let query = Query::new().with("signal", args.signal.as_str());
    each(ctx, flags, &live, "kill", &query, ("Killing", "Killed")).await
}

/// `compose pause` and `unpause`.
pub(super) async fn pause(ctx: &Ctx, flags: &ProjectFlags, args: Named, on: bool) -> Result<Exit> {
    let (_, rows) = chosen(ctx, flags, &args.services).await?;
    // pausing what is paused is an error, which the daemon words
    let wanted = |row: &&Value| row["State"] == "paused" || (on && row["State"] == "running");
    let live: Vec<&Value> = rows.iter().filter(wanted).collect();
    match on {
        true => each(ctx, flags, &live, "pause", &Query::new(), ("Pausing", "Paused")).await,
        false => each(ctx, flags, &live, "unpause", &Query::new(), ("Unpausing", "Unpaused")).await,
    }
}

/// `compose rm`: stopped containers; asks unless `-f`.
pub(super) async fn remove(ctx: &Ctx, flags: &ProjectFlags, args: Rm) -> Result<Exit> {
    let (loaded, rows) = chosen(ctx, flags, &args.services).await?;
    let board = Board::new(flags).titled("Removing");
    if args.stop {
        stop_all(ctx, flags, &loaded, args.services.clone(), None, &board).await?;
    }
    let gone: Vec<&Value> = rows
        .iter()
        .filter(|row| {
            args.stop || !matches!(row["State"].as_str(), Some("running" | "paused" | "restarting"))
        })
        .collect();
    if gone.is_empty() {
        eprintln!("No stopped containers");
        return Ok(report::OK);
    }
    let names: Vec<&str> = gone.iter().map(|row| observe::name(row)).collect();
    if !args.force {
        println!("Going to remove {}", names.join(", "));
        if !terminal::confirm("Are you sure?")? {
            return Ok(report::OK);
        }
    }
    let steps = gone.iter().map(|row| Step {
        operation: Operation::Remove {
            id: observe::id(row).to_owned(),
            name: observe::name(row).to_owned(),
            volumes: args.volumes,
        },
        after: Vec::new(),
    });
    let plan = Plan { steps: steps.collect(), ..Plan::default() };
    up::run(ctx.client().await?, flags, &loaded, &plan, &board, None).await?;
    Ok(report::OK)
}

/// `compose wait`: until the containers end; ends with the first code that is not 0.
pub(super) async fn wait(ctx: &Ctx, flags: &ProjectFlags, args: Wait) -> Result<Exit> {
    let (loaded, rows) = chosen(ctx, flags, &args.services).await?;
    if rows.is_empty() {
        bail!("no containers for project {:?}", loaded.desired.project);
    }
    let client = ctx.client().await?;
    let mut exit = report::OK;
    let mut running: FuturesUnordered<_> = rows
        .iter()
        .map(|row| async move {
            let path = format!("/containers/{}/wait", segment(observe::id(row)));
            (row, client.json(Method::POST, &path, &Query::new(), None).await)
        })
        .collect();
    while let Some((row, reply)) = running.next().await {
        let code = reply?["StatusCode"].as_i64().unwrap_or(0);
        report::say(&format!("container {:?} exited with status code {code}", observe::name(row)))?;
        if exit == report::OK {
            exit = (code & 0xff) as Exit;
        }
        if args.down_project {
            break;
        }
    }
    drop(running);
    if args.down_project {
        up::down(ctx, flags, Down::default()).await?;
    }
    Ok(exit)
}
