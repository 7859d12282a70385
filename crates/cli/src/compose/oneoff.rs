//! Beside the services' own containers: `run`; and the container words by service name: `exec`, `cp`, `stats`, `events`.

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use compose::labels;
use compose::plan::{Observed, Operation, Step, UpOptions};
use serde_json::{Value, json};

use super::args::{Converge, Copy, Events, Exec, ProjectFlags, Run, Stats};
use super::board::Board;
use super::container::Said;
use super::project::{self, Loaded};
use super::{build, container, observe, up};
use crate::client::stream::JsonStream;
use crate::client::{Query, no_body};
use crate::ctx::Ctx;
use crate::report::{self, Exit};
use crate::{clock, container as words, terminal};

/// The container words of the top level.
#[derive(Debug, Parser)]
struct Words {
    #[command(subcommand)]
    verb: words::Verb,
}

pub(super) async fn container_words(ctx: &Ctx, list: Vec<String>) -> Result<Exit> {
    let all = std::iter::once("sampan".to_owned()).chain(list);
    let parsed = Words::try_parse_from(all).map_err(|err| anyhow!("{err}"))?;
    words::run_verb(ctx, parsed.verb).await
}

/// The container of a service: the one of that number, else the first that runs.
pub(super) async fn find(
    ctx: &Ctx,
    loaded: &Loaded,
    service: &str,
    index: Option<u32>,
) -> Result<Value> {
    loaded.check(std::slice::from_ref(&service.to_owned()))?;
    let mut rows = observe::rows(ctx.client().await?, &loaded.desired.project, true).await?;
    // what `run` made comes last
    rows.sort_by_key(|row| row["Labels"][labels::ONEOFF] == "True");
    let found = rows.into_iter().find(|row| {
        let this = observe::service(row) == service;
        let counted = row["Labels"][labels::ONEOFF] != "True";
        this && index
            .map_or(row["State"] == "running", |index| counted && index == observe::number(row))
    });
    found.ok_or_else(|| match index {
        Some(index) => anyhow!("service {service:?} is not running container #{index}"),
        None => anyhow!("service {service:?} is not running"),
    })
}

/// `compose exec`.
pub(super) async fn exec(ctx: &Ctx, flags: &ProjectFlags, args: Exec) -> Result<Exit> {
    let (service, command) = args.service_and_command.split_first().context("no service")?;
    let loaded = project::known(ctx, flags, std::slice::from_ref(service)).await?;
    let row = find(ctx, &loaded, service, args.index).await?;
    let mut list = vec!["exec".to_owned()];
    if args.detach {
        list.push("-d".to_owned());
    } else {
        list.push("-i".to_owned());
        if !args.no_tty && terminal::stdin_is_terminal() && terminal::stdout_is_terminal() {
            list.push("-t".to_owned());
        }
    }
    if args.privileged {
        list.push("--privileged".to_owned());
    }
    for word in &args.env {
        list.extend(["-e".to_owned(), word.clone()]);
    }
    for (flag, value) in [("-u", &args.user), ("-w", &args.workdir)] {
        list.extend(value.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
    }
    list.push(observe::id(&row).to_owned());
    list.extend(command.iter().cloned());
    container_words(ctx, list).await
}

/// `compose cp`.
pub(super) async fn copy(ctx: &Ctx, flags: &ProjectFlags, args: Copy) -> Result<Exit> {
    let loaded = project::known(ctx, flags, &[]).await?;
    let mut list = vec!["cp".to_owned()];
    list.extend(args.archive.then(|| "-a".to_owned()));
    list.extend(args.follow_link.then(|| "-L".to_owned()));
    let source = places(ctx, &loaded, &args, &args.source).await?;
    list.extend(source.into_iter().next());
    let mut exit = report::OK;
    // what goes to a service goes to each of its containers
    for place in places(ctx, &loaded, &args, &args.destination).await? {
        let words = list.iter().cloned().chain([place]).collect();
        exit = container_words(ctx, words).await?;
        if exit != report::OK {
            break;
        }
    }
    Ok(exit)
}

/// A path of `cp` in the containers of the service that it names; any other path is itself.
async fn places(ctx: &Ctx, loaded: &Loaded, args: &Copy, word: &str) -> Result<Vec<String>> {
    let named =
        word.split_once(':').filter(|(name, _)| loaded.desired.services.contains_key(*name));
    let Some((service, path)) = named else { return Ok(vec![word.to_owned()]) };
    let rows = observe::rows(ctx.client().await?, &loaded.desired.project, args.all).await?;
    let wanted = |row: &&Value| {
        observe::service(row) == service
            && args.index.is_none_or(|index| index == observe::number(row))
    };
    let found: Vec<String> =
        rows.iter().filter(wanted).map(|row| format!("{}:{path}", observe::name(row))).collect();
    if found.is_empty() {
        bail!("no container found for service {service:?}");
    }
    Ok(found)
}

/// `compose stats`.
pub(super) async fn stats(ctx: &Ctx, flags: &ProjectFlags, args: Stats) -> Result<Exit> {
    let loaded = project::known(ctx, flags, &args.services).await?;
    loaded.check(&args.services)?;
    let rows = observe::rows(ctx.client().await?, &loaded.desired.project, false).await?;
    let mut list = vec!["stats".to_owned()];
    list.extend(args.no_stream.then(|| "--no-stream".to_owned()));
    list.extend(args.no_trunc.then(|| "--no-trunc".to_owned()));
    list.extend(args.format.as_ref().map(|format| format!("--format={format}")));
    let named = |row: &&Value| {
        let all = args.services.is_empty();
        (args.all || row["State"] == "running")
            && (all || args.services.iter().any(|s| s == observe::service(row)))
    };
    let names: Vec<String> =
        rows.iter().filter(named).map(|row| observe::name(row).to_owned()).collect();
    if names.is_empty() {
        return Ok(report::OK);
    }
    list.extend(names);
    container_words(ctx, list).await
}

/// `compose events`.
pub(super) async fn events(ctx: &Ctx, flags: &ProjectFlags, args: Events) -> Result<Exit> {
    use futures_util::StreamExt;
    let name = project::name(flags)?;
    if !args.services.is_empty() {
        project::known(ctx, flags, &args.services).await?.check(&args.services)?;
    }
    let client = ctx.client().await?;
    let wanted = json!({"label": [format!("{}={name}", labels::PROJECT)], "type": ["container"]});
    let time = |flag: &str, text: &Option<String>| {
        let text = text.as_deref().map(clock::api_time).transpose();
        text.map_err(|err| anyhow!("invalid value for {flag:?}: {err}"))
    };
    let (since, until) = (time("since", &args.since)?, time("until", &args.until)?);
    let query = Query::new()
        .with("filters", wanted.to_string())
        .opt("since", since.as_deref())
        .opt("until", until.as_deref());
    let mut stream =
        client.bytes(http::Method::GET, "/events", &query, Default::default(), no_body()).await?;
    let mut decoder = JsonStream::default();
    while let Some(chunk) = stream.next().await {
        for event in decoder.push(&chunk?)? {
            let attributes = &event["Actor"]["Attributes"];
            let service = attributes[labels::SERVICE].as_str().unwrap_or_default();
            if args.services.is_empty() || args.services.iter().any(|name| name == service) {
                report::say(&event_line(&event, service, args.json))?;
            }
        }
    }
    Ok(report::OK)
}

fn event_line(event: &Value, service: &str, as_json: bool) -> String {
    let time = clock::rfc3339_nano(event["timeNano"].as_i64().unwrap_or(0));
    let (action, id) = (&event["Action"], &event["Actor"]["ID"]);
    let mut attributes = event["Actor"]["Attributes"].as_object().cloned().unwrap_or_default();
    attributes.retain(|key, _| !key.starts_with("com.docker.compose."));
    if as_json {
        return json!({
            "time": time, "type": "container", "action": action, "id": id, "service": service,
            "attributes": attributes,
        })
        .to_string();
    }
    let pairs: Vec<String> = attributes
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{time} container {} {} ({})", text(action), text(id), pairs.join(", "))
}

/// `compose run`: a container of its own with the service's configuration.
pub(super) async fn run(ctx: &Ctx, flags: &ProjectFlags, args: Run) -> Result<Exit> {
    let (service, command) = args.service_and_command.split_first().context("no service")?;
    let loaded = project::project(flags, std::slice::from_ref(service))?;
    loaded.check(std::slice::from_ref(service))?;
    let board = if args.quiet { Board::quiet() } else { Board::new(flags) };
    let converge = Converge {
        build: args.build,
        pull: args.pull.clone(),
        quiet_pull: args.quiet_pull || args.quiet,
        quiet_build: args.quiet_build || args.quiet,
        ..Converge::default()
    };
    build::ensure(ctx, &loaded, std::slice::from_ref(service), &converge, &board).await?;
    prepare(ctx, flags, &loaded, service, &args, &board).await?;
    let id = create(ctx, &loaded, service, command, &args).await?;
    drop(board);
    if args.detach {
        container::start(ctx.client().await?, &id, (service, &[]), Said::Nowhere).await?;
        report::say(&id)?;
        return Ok(report::OK);
    }
    let mut list = vec!["start".to_owned(), "-a".to_owned()];
    list.extend(args.interactive.then(|| "-i".to_owned()));
    list.push(id.clone());
    let exit = container_words(ctx, list).await;
    if args.rm {
        container::remove(ctx.client().await?, &id, true).await?;
    }
    exit
}

/// The services it depends on, running; its networks and volumes, there.
async fn prepare(
    ctx: &Ctx,
    flags: &ProjectFlags,
    loaded: &Loaded,
    service: &str,
    args: &Run,
    board: &Board,
) -> Result<()> {
    let Some(wanted) = loaded.desired.services.get(service) else { return Ok(()) };
    if !args.no_deps && !wanted.depends_on.is_empty() {
        let services = wanted.depends_on.keys().cloned().collect();
        let options = UpOptions { services, ignore_orphans: true, ..UpOptions::default() };
        up::bring_up(ctx, flags, loaded, &Converge::default(), &options, board, None).await?;
    }
    // the ground without any container of the service itself
    let options = UpOptions {
        services: vec![service.to_owned()],
        no_deps: true,
        no_start: true,
        recreate: compose::plan::Recreate::Never,
        ignore_orphans: args.remove_orphans
            || project::variable("COMPOSE_IGNORE_ORPHANS").is_some_and(|word| word != "0"),
        ..UpOptions::default()
    };
    let client = ctx.client().await?;
    let observed = observe::observe(client, &loaded.desired).await?;
    let mut plan = compose::plan::plan(&loaded.desired, &observed, &options)?;
    let orphans = args.remove_orphans.then(|| orphans(loaded, &observed));
    plan.steps.retain(|step| {
        matches!(step.operation, Operation::CreateNetwork { .. } | Operation::CreateVolume { .. })
    });
    for step in &mut plan.steps {
        step.after.clear();
    }
    plan.steps.extend(orphans.into_iter().flatten());
    up::run(client, flags, loaded, &plan, board, None).await
}

/// Takes away what no service of the files made.
fn orphans(loaded: &Loaded, observed: &Observed) -> Vec<Step> {
    let known = |service: &String| loaded.desired.services.contains_key(service);
    let gone =
        observed.containers.iter().filter(|c| c.is_spent() || (!c.oneoff && !known(&c.service)));
    let remove =
        gone.map(|c| Operation::Remove { id: c.id.clone(), name: c.name.clone(), volumes: false });
    remove.map(|operation| Step { operation, after: Vec::new() }).collect()
}

async fn create(
    ctx: &Ctx,
    loaded: &Loaded,
    service: &str,
    command: &[String],
    args: &Run,
) -> Result<String> {
    let desired = &loaded.desired;
    let Some(wanted) = desired.services.get(service) else { bail!("no such service: {service}") };
    let slug = format!("{:08x}", clock::now_seconds() as u32 ^ std::process::id().rotate_left(16));
    let name =
        args.name.clone().unwrap_or_else(|| format!("{}-{service}-run-{slug}", desired.project));
    let mut request = wanted.request(&name, 1, &Default::default());
    let config = &mut request.config;
    let tty = !args.no_tty
        && !args.detach
        && terminal::stdin_is_terminal()
        && terminal::stdout_is_terminal();
    config.tty = tty;
    config.open_stdin = args.interactive;
    config.attach_stdin = args.interactive && !args.detach;
    config.stdin_once = config.attach_stdin;
    if !command.is_empty() {
        config.cmd = Some(command.to_vec());
    }
    if let Some(entrypoint) = &args.entrypoint {
        config.entrypoint = Some(entrypoint.split_whitespace().map(str::to_owned).collect());
        if command.is_empty() {
            config.cmd = None;
        }
    }
    if let Some(user) = &args.user {
        config.user.clone_from(user);
    }
    if let Some(workdir) = &args.workdir {
        config.working_dir.clone_from(workdir);
    }
    let env = config.env.get_or_insert_default();
    for path in &args.env_from_file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("couldn't find env file: {}", path.display()))?;
        let known = |name: &str| loaded.project.environment.get(name).cloned();
        let vars = compose::dotenv::parse(&text, &known)
            .map_err(|err| anyhow!("failed to read {}: {err}", path.display()))?;
        for (key, value) in vars {
            let Some(value) = value else { continue };
            env.retain(|old| old.split('=').next() != Some(key.as_str()));
            env.push(format!("{key}={value}"));
        }
    }
    for word in &args.env {
        let key = word.split('=').next().unwrap_or_default();
        env.retain(|old| old.split('=').next() != Some(key));
        match (word.contains('='), loaded.project.environment.get(word)) {
            (true, _) => env.push(word.clone()),
            (false, Some(value)) => env.push(format!("{word}={value}")),
            (false, None) => {}
        }
    }
    let all = config.labels.get_or_insert_default();
    all.insert(labels::ONEOFF.to_owned(), "True".to_owned());
    for word in &args.label {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        all.insert(key.to_owned(), value.to_owned());
    }
    let host = &mut request.host_config;
    host.restart_policy = Default::default();
    // nobody waits for its end here
    host.auto_remove = args.rm && args.detach;
    if !args.cap_add.is_empty() {
        host.cap_add.get_or_insert_default().extend(args.cap_add.iter().cloned());
    }
    if !args.cap_drop.is_empty() {
        host.cap_drop.get_or_insert_default().extend(args.cap_drop.iter().cloned());
    }
    let binds = args.volume.iter().map(|bind| absolute(bind));
    host.binds.get_or_insert_default().extend(binds);
    if !args.service_ports {
        host.port_bindings.clear();
    }
    for word in &args.publish {
        publish(word, &mut request)?;
    }
    if !args.use_aliases {
        for endpoint in
            request.networking_config.endpoints_config.iter_mut().flat_map(|map| map.values_mut())
        {
            endpoint.aliases = None;
        }
    }
    container::create(ctx.client().await?, &desired.project, wanted, request).await
}

fn absolute(bind: &str) -> String {
    if !bind.starts_with('.') {
        return bind.to_owned();
    }
    let cwd = std::env::current_dir().unwrap_or_default();
    let (source, rest) = bind.split_once(':').unwrap_or((bind, ""));
    format!("{}:{rest}", cwd.join(source).display())
}

fn publish(word: &str, request: &mut types::container::CreateRequest) -> Result<()> {
    let (spec, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let mut parts = spec.rsplitn(3, ':');
    let target = parts.next().unwrap_or_default();
    let (published, ip) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if target.parse::<u16>().is_err() {
        bail!("invalid port {word:?}: expected [[ip:]host:]container[/protocol]");
    }
    let key = format!("{target}/{protocol}");
    let binding =
        types::port::PortBinding { host_ip: ip.to_owned(), host_port: published.to_owned() };
    request.config.exposed_ports.get_or_insert_default().insert(key.clone(), Default::default());
    request.host_config.port_bindings.entry(key).or_default().get_or_insert_default().push(binding);
    Ok(())
}
