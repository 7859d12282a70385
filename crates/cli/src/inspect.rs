//! `inspect`, for one kind of object or for whatever has the name.
//!
//! Shows the daemon's JSON as it came: fields that this program does not know are kept.

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use crate::client::{Client, ClientError, Query, image_segment, segment};
use crate::ctx::Ctx;
use crate::format;
use crate::report::{self, Exit};

/// `sampan … inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short = 'f', long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) format: String,
    /// Display total file sizes if the type is container
    #[arg(short = 's', long)]
    pub(crate) size: bool,
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
}

/// `sampan node inspect` and the like.
#[derive(Debug, Args)]
pub(crate) struct PrettyArgs {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short = 'f', long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    /// Print the information in a human friendly format
    #[arg(long)]
    pretty: bool,
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// `sampan inspect`, which also takes a type.
#[derive(Debug, Args)]
pub(crate) struct AnyArgs {
    #[command(flatten)]
    common: InspectArgs,
    /// Only inspect objects of the given type
    #[arg(long, value_name = "string")]
    r#type: Option<String>,
}

/// What is inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Container,
    Image,
    Network,
    Volume,
    Node,
    Service,
    Task,
    Secret,
    Config,
}

impl Kind {
    const ALL: [Kind; 9] = [
        Kind::Container,
        Kind::Image,
        Kind::Network,
        Kind::Volume,
        Kind::Node,
        Kind::Service,
        Kind::Task,
        Kind::Secret,
        Kind::Config,
    ];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "container" => Some(Kind::Container),
            "image" => Some(Kind::Image),
            "network" => Some(Kind::Network),
            "volume" => Some(Kind::Volume),
            "node" => Some(Kind::Node),
            "service" => Some(Kind::Service),
            "task" => Some(Kind::Task),
            "secret" => Some(Kind::Secret),
            "config" => Some(Kind::Config),
            _ => None,
        }
    }

    fn path(self, name: &str) -> String {
        match self {
            Kind::Container => format!("/containers/{}/json", segment(name)),
            Kind::Image => format!("/images/{}/json", image_segment(name)),
            Kind::Network => format!("/networks/{}", segment(name)),
            Kind::Volume => format!("/volumes/{}", segment(name)),
            Kind::Node => format!("/nodes/{}", segment(name)),
            Kind::Service => format!("/services/{}", segment(name)),
            Kind::Task => format!("/tasks/{}", segment(name)),
            Kind::Secret => format!("/secrets/{}", segment(name)),
            Kind::Config => format!("/configs/{}", segment(name)),
        }
    }
}

/// Inspects objects of one kind.
pub(crate) async fn run(ctx: &Ctx, args: InspectArgs, kind: Kind) -> Result<Exit> {
    let client = ctx.client().await?;
    show(&args, async |name| get(client, kind, name, args.size).await.map_err(|err| err.into()))
        .await
}

/// The same with `--pretty`, which `page` draws.
pub(crate) async fn run_pretty(
    ctx: &Ctx,
    args: PrettyArgs,
    kind: Kind,
    page: fn(&Value) -> String,
) -> Result<Exit> {
    let PrettyArgs { format, pretty, names } = args;
    if !pretty {
        return run(ctx, InspectArgs { format, size: false, names }, kind).await;
    }
    if !format.is_empty() {
        anyhow::bail!("--format is incompatible with human friendly format");
    }
    let client = ctx.client().await?;
    report::each(&names, async |name| {
        let object = client.get(&kind.path(&name), &Query::new()).await?;
        Ok(Some(page(&object)))
    })
    .await
}

/// Inspects whatever has the names.
pub(crate) async fn run_any(ctx: &Ctx, args: AnyArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let kinds = match args.r#type.as_deref() {
        None | Some("") => Kind::ALL.to_vec(),
        Some(name) => match Kind::parse(name) {
            Some(kind) => vec![kind],
            None => anyhow::bail!("{name:?} is not a valid value for --type"),
        },
    };
    let (size, named) = (args.common.size, kinds.len() == 1);
    show(&args.common, async |name| {
        for kind in &kinds {
            match get(client, *kind, name, size).await {
                Ok(value) => return Ok(value),
                Err(err) if err.status() == Some(404) => {}
                // A node in no cluster knows no objects of one.
                Err(err) if err.status() == Some(503) && !named => {}
                Err(err) => return Err(err.into()),
            }
        }
        let object = args.r#type.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("object");
        Err(anyhow::anyhow!("Error: No such {object}: {name}"))
    })
    .await
}

async fn get(client: &Client, kind: Kind, name: &str, size: bool) -> Result<Value, ClientError> {
    client.get(&kind.path(name), &Query::new().flag("size", size && kind == Kind::Container)).await
}

/// Prints what was found even when some name was not; the errors follow.
async fn show(args: &InspectArgs, get: impl AsyncFn(&str) -> Result<Value>) -> Result<Exit> {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for name in &args.names {
        match get(name).await {
            Ok(value) => found.push(value),
            Err(err) => match err.downcast_ref::<ClientError>() {
                Some(ClientError::Daemon { .. }) | None => errors.push(report::text(&err)),
                Some(_) => return Err(err),
            },
        }
    }
    let out = match args.format.as_str() {
        "" => format!("{}\n", indented(&found)),
        format => {
            let mut out = String::new();
            for value in &found {
                match format::render_one(format, value) {
                    Ok(text) => out.push_str(&format!("{text}\n")),
                    Err(err) => errors.push(format!("{err:#}")),
                }
            }
            if found.is_empty() { "\n".to_owned() } else { out }
        }
    };
    report::print(&out)?;
    for error in &errors {
        eprintln!("{error}");
    }
    Ok(if errors.is_empty() { report::OK } else { report::FAILED })
}

/// Go's `json.MarshalIndent` with four spaces.
fn indented(values: &[Value]) -> String {
    use serde::Serialize;
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    // writing JSON values to memory cannot fail
    let _ = values.serialize(&mut serializer);
    String::from_utf8_lossy(&out).into_owned()
}
