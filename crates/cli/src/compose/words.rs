//! Docker's container words by service name (`attach`, `commit`, `export`), and `scale` and `volumes`.

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::args::{Attach, Commit, Converge, Export, ProjectFlags, Scale, Up, Volumes};
use super::oneoff::{container_words, find};
use super::{observe, project, up};
use crate::client::Query;
use crate::ctx::Ctx;
use crate::format::{Columns, Listing};
use crate::report::{self, Exit};

/// The name of a service's container.
async fn named(
    ctx: &Ctx,
    flags: &ProjectFlags,
    service: &str,
    index: Option<u32>,
) -> Result<String> {
    let loaded = project::known(ctx, flags, std::slice::from_ref(&service.to_owned())).await?;
    Ok(observe::name(&find(ctx, &loaded, service, index).await?).to_owned())
}

/// `compose attach`.
pub(super) async fn attach(ctx: &Ctx, flags: &ProjectFlags, args: Attach) -> Result<Exit> {
    let name = named(ctx, flags, &args.service, args.index).await?;
    let mut list = vec!["attach".to_owned(), format!("--sig-proxy={}", args.sig_proxy)];
    list.extend(args.no_stdin.then(|| "--no-stdin".to_owned()));
    list.extend(args.detach_keys.map(|keys| format!("--detach-keys={keys}")));
    list.push(name);
    container_words(ctx, list).await
}

/// `compose commit`.
pub(super) async fn commit(ctx: &Ctx, flags: &ProjectFlags, args: Commit) -> Result<Exit> {
    let name = named(ctx, flags, &args.service, args.index.or(Some(1))).await?;
    let mut list = vec!["commit".to_owned(), format!("--pause={}", args.pause)];
    list.extend(args.author.map(|author| format!("--author={author}")));
    list.extend(args.message.map(|message| format!("--message={message}")));
    list.extend(args.change.into_iter().map(|change| format!("--change={change}")));
    list.push(name);
    list.extend(args.reference);
    container_words(ctx, list).await
}

/// `compose export`.
pub(super) async fn export(ctx: &Ctx, flags: &ProjectFlags, args: Export) -> Result<Exit> {
    let name = named(ctx, flags, &args.service, args.index.or(Some(1))).await?;
    let mut list = vec!["export".to_owned()];
    list.extend(args.output.map(|path| format!("--output={path}")));
    list.push(name);
    container_words(ctx, list).await
}

/// `compose scale web=3 db=1`: as `up -d --scale`, without touching what is there otherwise.
pub(super) async fn scale(ctx: &Ctx, flags: &ProjectFlags, args: Scale) -> Result<Exit> {
    let mut services = Vec::new();
    for word in &args.counts {
        let name = word.split_once('=').map(|(name, _)| name.to_owned());
        services.push(name.ok_or_else(|| anyhow!("invalid scale specifier: {word}"))?);
    }
    let converge = Converge { scale: args.counts, ..Converge::default() };
    let words = Up { converge, services, no_deps: args.no_deps, detach: true, ..Up::default() };
    up::up(ctx, flags, words).await
}

const COLUMNS: Columns = &[("Driver", "DRIVER"), ("Name", "VOLUME NAME")];
const MORE: Columns = &[("Labels", "LABELS"), ("Mountpoint", "MOUNTPOINT"), ("Scope", "SCOPE")];

/// `compose volumes`.
pub(super) async fn volumes(ctx: &Ctx, flags: &ProjectFlags, args: Volumes) -> Result<Exit> {
    let loaded = project::known(ctx, flags, &args.services).await?;
    loaded.check(&args.services)?;
    let client = ctx.client().await?;
    let label = format!("{}={}", compose::labels::PROJECT, loaded.desired.project);
    let query = Query::new().with("filters", json!({ "label": [label] }).to_string());
    let reply = client.get("/volumes", &query).await?;
    let wanted: Option<Vec<String>> = (!args.services.is_empty()).then(|| {
        let services = args.services.iter().filter_map(|name| loaded.desired.services.get(name));
        let keys = services.flat_map(|service| &service.volumes);
        keys.filter_map(|key| Some(loaded.desired.volumes.get(key)?.request.name.clone())).collect()
    });
    let rows: Vec<Value> = reply["Volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| {
            let name = row["Name"].as_str().unwrap_or_default();
            wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|own| own == name))
        })
        .cloned()
        .collect();
    if args.quiet {
        for row in &rows {
            report::say(row["Name"].as_str().unwrap_or_default())?;
        }
        return Ok(report::OK);
    }
    let listing =
        Listing { format: &args.format, quiet: None, table: COLUMNS, more: MORE, hidden: &[] };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}
