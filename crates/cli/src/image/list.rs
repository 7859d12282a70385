//! `images` and `history`.

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use crate::client::{Query, image_segment};
use crate::clock;
use crate::ctx::Ctx;
use crate::format::Listing;
use crate::format::units::{human_size, human_size3};
use crate::opts;
use crate::report::{self, Exit};

/// `sampan images`.
#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Show all images (default hides intermediate images)
    #[arg(short = 'a', long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short = 'q', long)]
    quiet: bool,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

/// `sampan history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    /// Print sizes and dates in human readable format
    #[arg(short = 'H', long, value_name = "bool", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, action = clap::ArgAction::Set)]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short = 'q', long)]
    quiet: bool,
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// Lists images, one line per name.
pub(crate) async fn run(ctx: &Ctx, args: ImagesArgs) -> Result<Exit> {
    let mut words = args.filter.clone();
    words.extend(args.reference.iter().map(|name| format!("reference={name}")));
    let filters = opts::filters(&words).map_err(|err| anyhow!(err))?;
    let digests = args.digests || args.format.contains(".Digest");
    let query = Query::new()
        .flag("all", args.all)
        .flag("digests", digests)
        .with("filters", filters.to_string());
    let list = ctx.client().await?.get("/images/json", &query).await?;
    let mut rows: Vec<Value> = Vec::new();
    for image in list.as_array().into_iter().flatten() {
        rows.extend(
            names(image, args.digests, args.quiet)
                .iter()
                .map(|(repo, tag, digest)| row_of(image, repo, tag, digest, !args.no_trunc)),
        );
    }
    let table = if args.digests { WITH_DIGEST } else { TABLE };
    let listing = Listing {
        format: &args.format,
        quiet: args.quiet.then_some("ID"),
        table,
        more: MORE,
        hidden: &[],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

const TABLE: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
];
const WITH_DIGEST: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
];
const MORE: &[(&str, &str)] = &[
    ("Digest", "DIGEST"),
    ("CreatedAt", "CREATED AT"),
    ("Containers", "CONTAINERS"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];

const NONE: &str = "<none>";

/// Repository, tag and digest of each line an image takes.
fn names(image: &Value, digests: bool, quiet: bool) -> Vec<(String, String, String)> {
    let list = |key: &str| -> Vec<(String, String)> {
        let split = if key == "RepoTags" { ':' } else { '@' };
        let names = image[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        names
            .filter(|name| !name.starts_with(NONE))
            .filter_map(|name| name.rsplit_once(split))
            .map(|(repo, rest)| (repo.to_owned(), rest.to_owned()))
            .collect()
    };
    let (tags, by_digest) = (list("RepoTags"), list("RepoDigests"));
    let none = || NONE.to_owned();
    if quiet {
        return vec![(none(), none(), none())];
    }
    if tags.is_empty() {
        let mut lines: Vec<_> =
            by_digest.into_iter().map(|(repo, digest)| (repo, none(), digest)).collect();
        if lines.is_empty() {
            lines.push((none(), none(), none()));
        }
        return lines;
    }
    tags.into_iter()
        .map(|(repo, tag)| {
            let digest = by_digest.iter().find(|(known, _)| digests && *known == repo);
            let digest = digest.map_or_else(none, |(_, digest)| digest.clone());
            (repo, tag, digest)
        })
        .collect()
}

/// One image as docker's formatter shows it.
pub(crate) fn row_of(image: &Value, repo: &str, tag: &str, digest: &str, truncate: bool) -> Value {
    let created = image["Created"].as_i64().unwrap_or(0);
    let size = image["Size"].as_f64().unwrap_or(0.0);
    let known = |key: &str, show: &dyn Fn(f64) -> String| {
        image[key].as_f64().filter(|n| *n >= 0.0).map_or_else(|| "N/A".to_owned(), show)
    };
    let unique = match (image["Size"].as_f64(), image["SharedSize"].as_f64()) {
        (Some(size), Some(shared)) if shared >= 0.0 => human_size(size - shared),
        _ => "N/A".to_owned(),
    };
    json!({
        "Containers": known("Containers", &|n| n.to_string()),
        "CreatedAt": clock::go_time(created),
        "CreatedSince": if created > 0 { clock::ago(created) } else { "N/A".to_owned() },
        "Digest": digest,
        "ID": id(image["Id"].as_str().unwrap_or_default(), truncate),
        "Repository": repo,
        "SharedSize": known("SharedSize", &human_size),
        "Size": human_size3(size),
        "Tag": tag,
        "UniqueSize": unique,
        "VirtualSize": human_size(size),
    })
}

fn id(id: &str, truncate: bool) -> String {
    crate::format::short_id(id, truncate)
}

/// Lists an image's layers, newest first.
pub(crate) async fn history(ctx: &Ctx, args: HistoryArgs) -> Result<Exit> {
    let path = format!("/images/{}/history", image_segment(&args.image));
    let list = ctx.client().await?.get(&path, &Query::new()).await?;
    let rows: Vec<Value> =
        list.as_array().into_iter().flatten().map(|layer| layer_row(layer, &args)).collect();
    let listing = Listing {
        format: &args.format,
        quiet: args.quiet.then_some("ID"),
        table: &[
            ("ID", "IMAGE"),
            ("CreatedSince", "CREATED"),
            ("CreatedBy", "CREATED BY"),
            ("Size", "SIZE"),
            ("Comment", "COMMENT"),
        ],
        more: &[("CreatedAt", "CREATED AT")],
        hidden: &[],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

fn layer_row(layer: &Value, args: &HistoryArgs) -> Value {
    let created = layer["Created"].as_i64().unwrap_or(0);
    let size = layer["Size"].as_f64().unwrap_or(0.0);
    let by = layer["CreatedBy"].as_str().unwrap_or_default().replace('\t', " ");
    json!({
        "Comment": layer["Comment"],
        "CreatedAt": clock::rfc3339(created),
        "CreatedBy": if args.no_trunc { by } else { crate::format::ellipsis(&by, 45) },
        "CreatedSince": if args.human { clock::ago(created) } else { clock::rfc3339(created) },
        "ID": id(layer["Id"].as_str().unwrap_or_default(), !args.no_trunc),
        "Size": if args.human { human_size3(size) } else { size.to_string() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_a_line_per_name() {
        let image = json!({"RepoTags": ["a:1", "reg:5000/b:2"], "RepoDigests": ["a@sha256:0"]});
        let lines = names(&image, true, false);
        assert_eq!(lines[0], ("a".to_owned(), "1".to_owned(), "sha256:0".to_owned()));
        assert_eq!(lines[1], ("reg:5000/b".to_owned(), "2".to_owned(), "<none>".to_owned()));
        let dangling = json!({"RepoTags": ["<none>:<none>"], "RepoDigests": ["<none>@<none>"]});
        assert_eq!(names(&dangling, false, false).len(), 1);
    }
}
