//! Images of a project: built, pulled, pushed. Building goes through the words of `sampan build`.

mod contexts;

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use compose::desired::Service;
use compose::model::Build as BuildSection;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::args::{Build, Converge, ProjectFlags, Pull, Push};
use super::board::{Board, Mark};
use super::observe;
use super::project::{self, Loaded};
use crate::client::no_body;
use crate::clock;
use crate::ctx::Ctx;
use crate::image;

use crate::format::units;
use crate::progress;
use crate::report::{self, Exit};

/// The words of `sampan build` and its kin.
#[derive(Debug, Parser)]
struct Words {
    #[command(subcommand)]
    verb: image::Verb,
}

async fn image_words(ctx: &Ctx, words: &[String]) -> Result<Exit> {
    let all = std::iter::once("sampan".to_owned()).chain(words.iter().cloned());
    let words = Words::try_parse_from(all).map_err(|err| anyhow!("{err}"))?;
    image::run_verb(ctx, words.verb).await
}

/// `compose build`.
pub(super) async fn build(ctx: &Ctx, flags: &ProjectFlags, args: Build) -> Result<Exit> {
    if args.ssh.is_some() {
        bail!("--ssh is not supported: builds get no SSH agent");
    }
    let loaded = project::project(flags, &args.services)?;
    loaded.check(&args.services)?;
    for name in in_order(&loaded, loaded.closure(&args.services, !args.with_dependencies)) {
        if args.check || flags.dry_run {
            let builds = loaded.desired.services.get(&name).is_some_and(|wanted| wanted.builds);
            if builds {
                report::say(&format!("{name}: would be built"))?;
            }
            continue;
        }
        build_one(ctx, &loaded, &name, &args).await?;
    }
    if args.push && !args.check && !flags.dry_run {
        let words = Push {
            services: args.services,
            include_deps: args.with_dependencies,
            ignore_push_failures: false,
            quiet: args.quiet,
        };
        return push(ctx, flags, words).await;
    }
    Ok(report::OK)
}

pub(super) async fn build_one(ctx: &Ctx, loaded: &Loaded, name: &str, args: &Build) -> Result<()> {
    let (Some(service), Some(wanted)) =
        (loaded.project.services.get(name), loaded.desired.services.get(name))
    else {
        return Ok(());
    };
    let Some(section) = &service.build else { return Ok(()) };
    if !args.quiet {
        eprintln!("Building {name}");
    }
    let inline = contexts::dockerfile(loaded, section)?;
    let inline = inline.as_deref().map(Inline::write).transpose()?;
    let mut words = words(loaded, section, wanted, args, inline.as_ref());
    // the folder to send stands last
    let context = words.pop();
    let (flags, _files) = secrets(loaded, section)?;
    words.extend(flags);
    words.extend(context);
    image_words(ctx, &words).await.with_context(|| format!("failed to build service {name}"))?;
    if !args.quiet {
        eprintln!(" {name}  Built");
    }
    Ok(())
}

fn words(
    loaded: &Loaded,
    section: &BuildSection,
    wanted: &Service,
    args: &Build,
    inline: Option<&Inline>,
) -> Vec<String> {
    let mut words = vec!["build".to_owned()];
    let mut push = |flag: &str, value: &str| words.extend([flag.to_owned(), value.to_owned()]);
    push("-t", &wanted.image);
    for tag in &section.tags {
        push("-t", tag);
    }
    for (key, value) in &section.args {
        if let Some(value) = value.as_ref().or_else(|| loaded.project.environment.get(key)) {
            push("--build-arg", &format!("{key}={value}"));
        }
    }
    for word in &args.build_arg {
        push("--build-arg", word);
    }
    for (key, value) in &section.labels {
        push("--label", &format!("{key}={value}"));
    }
    for host in &section.extra_hosts {
        push("--add-host", &host.replacen('=', ":", 1));
    }
    for image in &section.cache_from {
        push("--cache-from", image);
    }
    for (name, limit) in &section.ulimits {
        push("--ulimit", &format!("{name}={}:{}", limit.soft, limit.hard));
    }
    if !section.target.is_empty() {
        push("--target", &section.target);
    }
    if !section.network.is_empty() {
        push("--network", &section.network);
    }
    if section.shm_size.0 > 0 {
        push("--shm-size", &section.shm_size.0.to_string());
    }
    if let Some(platform) = section.platforms.first().or(wanted.template.platform.as_ref()) {
        push("--platform", platform);
    }
    match inline {
        Some(inline) => push("-f", &inline.0.to_string_lossy()),
        None if compose::is_remote(&section.context) => push("-f", &section.dockerfile),
        None => {
            let path = std::path::Path::new(&section.context).join(&section.dockerfile);
            push("-f", &path.to_string_lossy());
        }
    }
    if let Some(memory) = &args.memory {
        push("--memory", memory);
    }
    let switches = [
        ("--no-cache", section.no_cache || args.no_cache),
        ("--pull", section.pull || args.pull),
        ("-q", args.quiet),
    ];
    words.extend(switches.iter().filter(|(_, on)| *on).map(|(flag, _)| (*flag).to_owned()));
    words.push(section.context.clone());
    words
}

/// `--secret` for each grant of the build, and the files that hold those of the environment meanwhile.
fn secrets(loaded: &Loaded, section: &BuildSection) -> Result<(Vec<String>, Vec<Inline>)> {
    let (mut words, mut files) = (Vec::new(), Vec::new());
    for grant in &section.secrets {
        let Some(source) = loaded.project.secrets.get(&grant.source) else { continue };
        // steps ask for it by the name that it has in the build
        let id = grant.target.rsplit('/').next().filter(|name| !name.is_empty());
        let id = id.unwrap_or(&grant.source);
        let path = match (&source.file, &source.environment) {
            (Some(file), _) => file.clone(),
            (None, Some(name)) => {
                let value = loaded.project.environment.get(name);
                let value = value.ok_or_else(|| {
                    anyhow!("secret {}: the variable {name} is not set", grant.source)
                })?;
                let file = Inline::write(value)?;
                let path = file.0.to_string_lossy().into_owned();
                files.push(file);
                path
            }
            (None, None) => continue,
        };
        words.extend(["--secret".to_owned(), format!("id={id},src={path}")]);
    }
    Ok((words, files))
}

/// Text of the Compose file that a build needs as a file: on disk for its length, for our eyes alone.
struct Inline(std::path::PathBuf);

impl Inline {
    fn write(text: &str) -> Result<Self> {
        // several services may be built by one client
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sampan-dockerfile-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // of a client that had our number and was killed
        let _ = std::fs::remove_file(&path);
        let write = || -> std::io::Result<()> {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())
        };
        write().with_context(|| format!("failed to write {}", path.display()))?;
        Ok(Inline(path))
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        // what cannot be removed is a temporary file of ours and harmless
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Services whose images others build upon come first.
pub(super) fn in_order(loaded: &Loaded, names: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut open: Vec<String> = names.iter().rev().cloned().collect();
    while let Some(name) = open.pop() {
        if out.contains(&name) {
            continue;
        }
        let build = loaded.project.services.get(&name).and_then(|service| service.build.as_ref());
        let before: Vec<String> = build
            .iter()
            .flat_map(|build| build.additional_contexts.values())
            .filter_map(|context| context.strip_prefix("service:"))
            .filter(|other| {
                *other != name
                    && !out.iter().any(|done| done == other)
                    && !open.iter().any(|o| o == other && names.len() < open.len())
            })
            .map(str::to_owned)
            .collect();
        if before.is_empty() || open.len() > loaded.project.services.len() * 2 {
            out.push(name);
        } else {
            open.push(name);
            open.extend(before);
        }
    }
    out
}

/// Makes sure that every image is there: built when it can be, else pulled.
pub(super) async fn ensure(
    ctx: &Ctx,
    loaded: &Loaded,
    names: &[String],
    flags: &Converge,
    board: &Board,
) -> Result<()> {
    let client = ctx.client().await?;
    let mut pulls: Vec<(String, String, Option<String>)> = Vec::new();
    for name in &in_order(loaded, names.to_vec()) {
        let (Some(service), Some(wanted)) =
            (loaded.project.services.get(name), loaded.desired.services.get(name))
        else {
            continue;
        };
        let policy = flags.pull.as_deref().or(service.pull_policy.as_deref()).unwrap_or("missing");
        let known = observe::image_id(client, &wanted.image).await?.is_some();
        let build =
            wanted.builds && !flags.no_build && (flags.build || policy == "build" || !known);
        if build {
            let args = Build { quiet: flags.quiet_build, ..Build::default() };
            build_one(ctx, loaded, name, &args).await?;
            continue;
        }
        let fresh = match compose::pull_age(policy) {
            Some(age) if known => observe::tagged(client, &wanted.image)
                .await?
                .is_some_and(|tagged| clock::now_seconds() - tagged < age),
            age => age.is_none(),
        };
        let ours = |other: &Service| other.builds && other.image == wanted.image;
        match (known, policy) {
            // another service makes it
            _ if !flags.no_build
                && !wanted.builds
                && loaded.desired.services.values().any(ours) => {}
            (false, "never") => bail!("No such image: {}", wanted.image),
            (true, _) if fresh || wanted.builds => {}
            _ if pulls.iter().any(|(_, image, _)| *image == wanted.image) => {}
            _ => pulls.push((name.clone(), wanted.image.clone(), wanted.template.platform.clone())),
        }
    }
    for (name, hook) in names.iter().flat_map(|name| {
        let init = loaded.desired.services.get(name).into_iter().flat_map(|wanted| &wanted.init);
        init.map(move |hook| (name, &hook.request))
    }) {
        let image = &hook.config.image;
        let made = loaded.desired.services.values().any(|other| other.image == *image);
        let there = made
            || pulls.iter().any(|(_, pulled, _)| pulled == image)
            || observe::image_id(client, image).await?.is_some();
        if !there {
            pulls.push((name.clone(), image.clone(), hook.platform.clone()));
        }
    }
    match flags.quiet_pull {
        true => pull_all(ctx, &pulls, &Board::quiet(), false).await.map(drop),
        false => pull_all(ctx, &pulls, board, false).await.map(drop),
    }
}

/// Pulls at the same time; says each start and end. Returns the services whose pull failed, where that is no error.
async fn pull_all(
    ctx: &Ctx,
    pulls: &[(String, String, Option<String>)],
    board: &Board,
    ignore: bool,
) -> Result<Vec<String>> {
    let mut running: FuturesUnordered<_> = pulls
        .iter()
        .map(|(name, image, platform)| async move {
            board.say(name, "Pulling", Mark::Working);
            let pulled = pull_one(ctx, name, image, platform.as_deref(), board).await;
            (name, image, pulled)
        })
        .collect();
    let mut failure = None;
    let mut failed = Vec::new();
    while let Some((name, image, pulled)) = running.next().await {
        match pulled {
            Ok(()) => board.say(name, "Pulled", Mark::Done),
            Err(err) => {
                board.say(name, "Error", if ignore { Mark::Warning } else { Mark::Failed });
                failure.get_or_insert(err.context(format!("failed to pull {image}")));
                failed.push(name.clone());
            }
        }
    }
    failure.filter(|_| !ignore).map_or(Ok(failed), Err)
}

/// Pulls one image with the stored login; its layers' bytes are summed on the service's line.
async fn pull_one(
    ctx: &Ctx,
    service: &str,
    image: &str,
    platform: Option<&str>,
    board: &Board,
) -> Result<()> {
    let query = crate::container::pull_query(image, platform)?;
    let headers = image::auth_header(&ctx.config()?.for_image(image))?;
    let client = ctx.client().await?;
    let path = "/images/create";
    let stream = client.bytes(http::Method::POST, path, &query, headers, no_body()).await?;
    let mut layers = Layers::default();
    progress::follow(stream, |message| layers.message(message, service, board)).await.map(drop)
}

/// How far the layers of one image are: bytes here and bytes in all, by layer.
#[derive(Default)]
struct Layers(std::collections::BTreeMap<String, (u64, u64)>);

impl Layers {
    fn message(&mut self, message: &serde_json::Value, service: &str, board: &Board) {
        let (Some(id), Some(status)) = (message["id"].as_str(), message["status"].as_str()) else {
            return;
        };
        let detail = &message["progressDetail"];
        match (detail["current"].as_u64(), detail["total"].as_u64()) {
            (Some(current), Some(total)) if status == "Downloading" => {
                self.0.insert(id.to_owned(), (current, total));
            }
            _ => {
                let layer = self.0.entry(id.to_owned()).or_default();
                layer.0 = layer.1;
                if matches!(status, "Pull complete" | "Already exists") {
                    board.step(&format!("{service} {id}"), status);
                }
            }
        }
        let sum = |part: fn(&(u64, u64)) -> u64| self.0.values().map(part).sum::<u64>() as f64;
        let (here, all) = (sum(|layer| layer.0), sum(|layer| layer.1));
        if all > 0.0 {
            let (here, all) = (units::human_size(here), units::human_size(all));
            board.progress(service, &format!("Pulling {here} / {all}"));
        }
    }
}

/// `compose pull`.
pub(super) async fn pull(ctx: &Ctx, flags: &ProjectFlags, args: Pull) -> Result<Exit> {
    let loaded = project::project(flags, &args.services)?;
    loaded.check(&args.services)?;
    let client = ctx.client().await?;
    let board = if args.quiet { Board::quiet() } else { Board::new(flags).titled("Pulling") };
    let mut pulls: Vec<(String, String, Option<String>)> = Vec::new();
    for name in loaded.closure(&args.services, !args.include_deps) {
        let Some(wanted) = loaded.desired.services.get(&name) else { continue };
        let service = loaded.project.services.get(&name);
        let own = service.is_some_and(|service| service.image.is_none());
        let said = service.and_then(|service| service.pull_policy.as_deref());
        let policy = args.policy.as_deref().or(said).unwrap_or("always");
        let known = observe::image_id(client, &wanted.image).await?.is_some();
        let skipped = match policy {
            _ if own => "Skipped No image to be pulled",
            _ if args.ignore_buildable && wanted.builds => "Skipped Image can be built",
            "never" | "build" => "Skipped",
            "missing" | "if_not_present" if known => "Skipped Image is already present locally",
            _ => "",
        };
        if !skipped.is_empty() {
            board.say(&name, skipped, Mark::Done);
            continue;
        }
        if !pulls.iter().any(|(_, image, _)| *image == wanted.image) {
            pulls.push((name, wanted.image.clone(), wanted.template.platform.clone()));
        }
    }
    let mut missing = pull_all(ctx, &pulls, &board, args.ignore_pull_failures).await?;
    missing.retain(|name| loaded.desired.services.get(name).is_some_and(|wanted| wanted.builds));
    missing.sort();
    if !missing.is_empty() {
        board.note(&format!(
            "WARN: Some service image(s) must be built from source by running:\n    sampan compose build {}",
            missing.join(" ")
        ));
    }
    Ok(report::OK)
}

/// `compose push`.
pub(super) async fn push(ctx: &Ctx, flags: &ProjectFlags, args: Push) -> Result<Exit> {
    let loaded = project::project(flags, &args.services)?;
    loaded.check(&args.services)?;
    for name in loaded.closure(&args.services, !args.include_deps) {
        let Some(wanted) = loaded.desired.services.get(&name).filter(|wanted| wanted.builds) else {
            continue;
        };
        // an image without a name has no place to go
        if loaded.project.services.get(&name).is_none_or(|service| service.image.is_none()) {
            continue;
        }
        let mut words = vec!["push".to_owned()];
        words.extend(args.quiet.then(|| "-q".to_owned()));
        words.push(wanted.image.clone());
        match image_words(ctx, &words).await {
            Ok(_) => {}
            Err(err) if args.ignore_push_failures => eprintln!("{}", report::text(&err)),
            Err(err) => return Err(err),
        }
    }
    Ok(report::OK)
}
