//! `config` and `version`: what the files say, without a daemon (but for `--resolve-image-digests`).

use anyhow::{Context, Result};
use compose::{Keep, Node, Value};
use serde::Serialize;
use serde_json::json;

use super::args::{Config, ProjectFlags, Version};
use super::project::{self, Loaded};
use crate::client::{Query, image_segment};
use crate::ctx::Ctx;
use crate::format::table;
use crate::report::{self, Exit};

/// `compose config`.
pub(super) async fn config(ctx: &Ctx, flags: &ProjectFlags, args: &Config) -> Result<Exit> {
    let keep = Keep {
        variables: args.no_interpolate || args.variables,
        paths: args.no_path_resolution,
        form: args.no_normalize,
        contradictions: args.no_consistency,
    };
    // hashes of some need nothing of the others
    let hashed = args.hash.as_deref().filter(|names| *names != "*");
    let hashed = hashed.map(|names| names.split(',').map(str::to_owned).collect());
    let names = hashed.as_ref().unwrap_or(&args.names);
    let mut loaded = project::project_with(flags, names, args.no_env_resolution, keep)?;
    if !keep.variables {
        loaded.check(&args.names)?;
    } else if !args.names.is_empty() {
        let flag = if args.variables { "--variables" } else { "--no-interpolate" };
        eprintln!("WARN: service filtering is not applied when {flag} is set");
    }
    if args.quiet {
        return Ok(report::OK);
    }
    if args.resolve_image_digests || args.lock_image_digests {
        pin(ctx, &mut loaded).await?;
    }
    let text = text(&loaded, args)?;
    match &args.output {
        Some(path) => {
            std::fs::write(path, text)
                .with_context(|| format!("failed to write {}", path.display()))?;
        }
        None => report::print(&text)?,
    }
    Ok(report::OK)
}

fn text(loaded: &Loaded, args: &Config) -> Result<String> {
    let project = &loaded.project;
    let lines = |words: Vec<String>| words.into_iter().map(|word| word + "\n").collect();
    let tree = project.tree().cloned().unwrap_or_else(|| Node::map([], Default::default()));
    let keys = |section: &str| -> Vec<String> {
        let map = tree.get(section).and_then(Node::as_map);
        map.map(|map| map.keys().cloned().collect()).unwrap_or_default()
    };
    for (wanted, section) in
        [(args.services, "services"), (args.volumes, "volumes"), (args.networks, "networks")]
    {
        if wanted {
            return Ok(lines(keys(section)));
        }
    }
    if args.models {
        let models = tree.get("models").and_then(Node::as_map).into_iter().flat_map(|m| m.values());
        let names = models.filter_map(|model| Some(model.get("model")?.as_str()?.to_owned()));
        return Ok(lines(names.collect()));
    }
    if args.images {
        return Ok(lines(loaded.desired.services.values().map(|s| s.image.clone()).collect()));
    }
    if args.profiles {
        return Ok(lines(project.profiles.iter().cloned().collect()));
    }
    if args.environment {
        let pairs = project.environment.iter().map(|(key, value)| format!("{key}={value}"));
        return Ok(lines(pairs.collect()));
    }
    if args.variables {
        return Ok(variables(&tree, args.format.as_deref()));
    }
    if let Some(wanted) = &args.hash {
        let chosen = |name: &str| wanted == "*" || wanted.split(',').any(|word| word == name);
        let hashes = loaded.desired.services.values().filter(|service| chosen(&service.name));
        return Ok(lines(
            hashes.map(|service| format!("{} {}", service.name, service.hash)).collect(),
        ));
    }
    let tree = if args.lock_image_digests { images_only(&tree) } else { tree };
    Ok(match (args.format.as_deref(), args.no_interpolate) {
        (Some("json"), keep) => {
            // with variables in it the tree is what was written and nothing more
            let json = if keep { tree.to_json() } else { compose::json(&tree) };
            let text = serde_json::to_string_pretty(&json)?;
            (if keep { text } else { text.replace('$', "$$") }) + "\n"
        }
        (_, true) => compose::templates(&sorted(tree)),
        (_, false) => compose::yaml(&tree),
    })
}

/// With the keys of every mapping by name, as Compose v2 prints what it has not interpolated.
fn sorted(mut tree: Node) -> Node {
    let empty = Value::Null;
    tree.value = match std::mem::replace(&mut tree.value, empty) {
        Value::Map(mut map) => {
            map.sort_keys();
            Value::Map(map.into_iter().map(|(key, child)| (key, sorted(child))).collect())
        }
        Value::Seq(items) => Value::Seq(items.into_iter().map(sorted).collect()),
        other => other,
    };
    tree
}

fn variables(tree: &Node, format: Option<&str>) -> String {
    let all = compose::variables(tree);
    if format == Some("yaml") {
        let row = |(name, v): (&String, &compose::Variable)| {
            format!(
                "{name}:\n    name: {name}\n    defaultvalue: {}\n    presencevalue: {}\n    required: {}\n",
                json!(v.default),
                json!(v.alternate),
                v.required
            )
        };
        return all.iter().map(row).collect();
    }
    if format == Some("json") {
        let rows: serde_json::Map<String, serde_json::Value> = all
            .into_iter()
            .map(|(name, v)| {
                let row = json!({
                    "Name": name, "DefaultValue": v.default, "PresenceValue": v.alternate, "Required": v.required,
                });
                (name, row)
            })
            .collect();
        let mut out = Vec::new();
        let pretty = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut writer = serde_json::Serializer::with_formatter(&mut out, pretty);
        // a map of texts in memory can be written
        let _ = serde_json::Value::Object(rows).serialize(&mut writer);
        return String::from_utf8_lossy(&out).into_owned() + "\n";
    }
    let mut rows = vec!["NAME\tREQUIRED\tDEFAULT VALUE\tALTERNATE VALUE".to_owned()];
    rows.extend(
        all.iter()
            .map(|(name, v)| format!("{name}\t{}\t{}\t{}", v.required, v.default, v.alternate)),
    );
    table::align(&rows)
}

/// Puts the registry's digests behind the images that services name.
async fn pin(ctx: &Ctx, loaded: &mut Loaded) -> Result<()> {
    let client = ctx.client().await?;
    for service in loaded.project.services.values_mut() {
        let Some(image) = service.image.as_mut().filter(|image| !image.contains('@')) else {
            continue;
        };
        let path = format!("/distribution/{}/json", image_segment(image));
        let found = client
            .get(&path, &Query::new())
            .await
            .with_context(|| format!("cannot resolve the digest of {image}"))?;
        let digest = found["Descriptor"]["digest"].as_str().context("no digest in the reply")?;
        *image = format!("{image}@{digest}");
    }
    let images: Vec<(String, String)> = loaded
        .project
        .services
        .iter()
        .filter_map(|(name, service)| Some((name.clone(), service.image.clone()?)))
        .collect();
    loaded.project.set_images(&images);
    Ok(())
}

/// An override file that says nothing but the images.
fn images_only(tree: &Node) -> Node {
    let mut services = tree.get("services").cloned().unwrap_or_else(|| tree.clone());
    if let Value::Map(map) = &mut services.value {
        for service in map.values_mut() {
            if let Some(map) = service.as_map_mut() {
                map.retain(|key, _| key == "image");
            }
        }
    }
    Node::map([("services", services)], tree.span)
}

/// `compose version`.
pub(super) fn version(args: &Version) -> Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    report::say(&match (args.short, args.format.as_str()) {
        (true, _) => version.to_owned(),
        (_, "json") => json!({ "version": format!("v{version}") }).to_string(),
        _ => format!("Sampan Compose version v{version}"),
    })?;
    Ok(report::OK)
}
