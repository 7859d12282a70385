//! `sampan secret …` and `sampan config …`: bytes that tasks find as files.

use std::io::Read;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use crate::client::{Query, segment};
use crate::clock;
use crate::ctx::Ctx;
use crate::format::{Listing, labels};
use crate::inspect;
use crate::opts;
use crate::report::{self, Exit};

/// What `sampan secret` and `sampan config` offer.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create one from a file, or from standard input as content ("-")
    Create(CreateArgs),
    /// Display detailed information
    Inspect(inspect::PrettyArgs),
    /// List them
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Remove one or more
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Replace the content of a config in place: running containers see the new file
    Update(UpdateArgs),
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blob {
    Secret,
    Config,
}

impl Blob {
    fn path(self) -> &'static str {
        match self {
            Blob::Secret => "/secrets",
            Blob::Config => "/configs",
        }
    }
}

/// `secret create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Driver of a secret
    #[arg(short = 'd', long, value_name = "string")]
    driver: Option<String>,
    /// Labels
    #[arg(short = 'l', long, value_name = "list")]
    label: Vec<String>,
    /// Template driver
    #[arg(long, value_name = "string")]
    template_driver: Option<String>,
    #[arg(value_name = "NAME")]
    name: String,
    #[arg(value_name = "FILE|-")]
    file: Option<String>,
}

/// `secret ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    /// Only display IDs
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// `secret rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// `config update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    #[arg(value_name = "NAME")]
    name: String,
    #[arg(value_name = "FILE|-")]
    file: String,
}

/// Runs a word of the `secret` or `config` object.
pub(crate) async fn run(ctx: &Ctx, blob: Blob, command: Command) -> Result<Exit> {
    match command {
        Command::Create(args) => create(ctx, blob, &args).await,
        Command::Inspect(args) => {
            let kind = match blob {
                Blob::Secret => inspect::Kind::Secret,
                Blob::Config => inspect::Kind::Config,
            };
            inspect::run_pretty(ctx, args, kind, pretty).await
        }
        Command::Ls(args) => list(ctx, blob, &args).await,
        Command::Rm(args) => remove(ctx, blob, &args).await,
        Command::Update(args) => update(ctx, blob, &args).await,
    }
}

fn read(file: &str) -> Result<Vec<u8>> {
    if file == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file).with_context(|| format!("error reading from {file}"))
}

async fn create(ctx: &Ctx, blob: Blob, args: &CreateArgs) -> Result<Exit> {
    let data = match (&args.file, &args.driver) {
        (Some(file), None) => Some(STANDARD.encode(read(file)?)),
        (None, Some(_)) => None,
        (Some(_), Some(_)) => {
            bail!("when using secret driver secret data must be empty")
        }
        (None, None) => bail!("\"create\" needs a file, or \"-\" for standard input"),
    };
    let driver = |name: &Option<String>| name.as_ref().map(|name| json!({ "Name": name }));
    let mut spec = json!({ "Name": args.name, "Labels": opts::pairs(&args.label) });
    for (key, value) in [
        ("Data", data.map(Value::from)),
        ("Driver", driver(&args.driver)),
        ("Templating", driver(&args.template_driver)),
    ] {
        if let Some(value) = value {
            spec[key] = value;
        }
    }
    let path = format!("{}/create", blob.path());
    let client = ctx.client().await?;
    let created = client.json(Method::POST, &path, &Query::new(), Some(&spec)).await?;
    report::say(text(&created["ID"]))?;
    Ok(report::OK)
}

async fn list(ctx: &Ctx, blob: Blob, args: &LsArgs) -> Result<Exit> {
    let filters = opts::filters(&args.filter).map_err(|err| anyhow!(err))?;
    let query = Query::new().with("filters", filters.to_string());
    let found = ctx.client().await?.get(blob.path(), &query).await?;
    let mut found: Vec<&Value> = found.as_array().into_iter().flatten().collect();
    found.sort_by_key(|row| text(&row["Spec"]["Name"]));
    let rows: Vec<Value> = found.into_iter().map(row).collect();
    let table: crate::format::Columns = match blob {
        Blob::Secret => &[
            ("ID", "ID"),
            ("Name", "NAME"),
            ("Driver", "DRIVER"),
            ("CreatedAt", "CREATED"),
            ("UpdatedAt", "UPDATED"),
        ],
        Blob::Config => {
            &[("ID", "ID"), ("Name", "NAME"), ("CreatedAt", "CREATED"), ("UpdatedAt", "UPDATED")]
        }
    };
    let listing = Listing {
        format: &args.format,
        quiet: args.quiet.then_some("ID"),
        table,
        more: &[("Labels", "LABELS"), ("Label", "LABEL")],
        hidden: &["Label"],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

fn row(object: &Value) -> Value {
    let ago = |key: &str| clock::ago(clock::seconds_of(text(&object[key])).unwrap_or_default());
    let spec = &object["Spec"];
    json!({
        "CreatedAt": ago("CreatedAt"),
        "Driver": text(&spec["Driver"]["Name"]),
        "ID": object["ID"],
        "Label": spec["Labels"],
        "Labels": labels(&spec["Labels"]),
        "Name": spec["Name"],
        "UpdatedAt": ago("UpdatedAt"),
    })
}

async fn remove(ctx: &Ctx, blob: Blob, args: &RmArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    report::each(&args.names, async |name| {
        let path = format!("{}/{}", blob.path(), segment(&name));
        client.json(Method::DELETE, &path, &Query::new(), None).await?;
        Ok(Some(name))
    })
    .await
}

async fn update(ctx: &Ctx, blob: Blob, args: &UpdateArgs) -> Result<Exit> {
    if blob == Blob::Secret {
        bail!("a secret's content cannot change: create another one and give it to the service");
    }
    let client = ctx.client().await?;
    let path = format!("{}/{}", blob.path(), segment(&args.name));
    let mut config = client.get(&path, &Query::new()).await?;
    config["Spec"]["Data"] = STANDARD.encode(read(&args.file)?).into();
    let query = Query::new().with("version", config["Version"]["Index"].to_string());
    let path = format!("{}/{}/update", blob.path(), text(&config["ID"]));
    client.json(Method::POST, &path, &query, Some(&config["Spec"])).await?;
    report::say(&args.name)?;
    Ok(report::OK)
}

fn pretty(object: &Value) -> String {
    let spec = &object["Spec"];
    let mut out = format!("ID:\t\t\t{}\nName:\t\t\t{}\n", text(&object["ID"]), text(&spec["Name"]));
    if let Some(labels) = spec["Labels"].as_object().filter(|labels| !labels.is_empty()) {
        out.push_str("Labels:\n");
        for (key, value) in labels {
            out.push_str(&format!(" - {key}={}\n", text(value)));
        }
    }
    let time = |key: &str| clock::go_time_text(text(&object[key]));
    out.push_str(&format!("Created at:            \t{}\n", time("CreatedAt")));
    out.push_str(&format!("Updated at:            \t{}\n", time("UpdatedAt")));
    if let Some(data) = spec["Data"].as_str() {
        let bytes = STANDARD.decode(data).unwrap_or_default();
        out.push_str(&format!("Data:\n{}\n", String::from_utf8_lossy(&bytes)));
    }
    out
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
