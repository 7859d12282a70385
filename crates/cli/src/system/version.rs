//! `version`: ours and the daemon's.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::client::{API_VERSION, Query};
use crate::ctx::Ctx;
use crate::format;
use crate::report::{self, Exit};

/// `sampan version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short = 'f', long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
}

/// Shows both versions; without a daemon ours alone, and the reason.
pub(crate) async fn run(ctx: &Ctx, args: VersionArgs) -> Result<Exit> {
    let (server, failure) = match ctx.client().await {
        Ok(client) => match client.get("/version", &Query::new()).await {
            Ok(server) => (Some(server), None),
            Err(err) => (None, Some(err)),
        },
        Err(err) => (None, Some(err)),
    };
    let most = format!("{}.{}", API_VERSION.0, API_VERSION.1);
    let api =
        ctx.client().await.map(|client| client.api_version()).unwrap_or_else(|_| most.clone());
    let client = json!({
        "Version": env!("CARGO_PKG_VERSION"), "ApiVersion": api, "DefaultAPIVersion": most,
        "Os": std::env::consts::OS, "Arch": go_arch(), "Context": "default",
    });
    if args.format.is_empty() {
        report::print(&client_text(&client))?;
        if let Some(server) = &server {
            report::print(&server_text(server))?;
        }
    } else {
        let both = json!({"Client": client, "Server": server});
        report::say(&format::render_one(&args.format, &both)?)?;
    }
    match failure {
        None => Ok(report::OK),
        Some(err) => Err(err.into()),
    }
}

/// Go's name of this machine's architecture.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn client_text(client: &Value) -> String {
    let text = |key: &str| client[key].as_str().unwrap_or_default();
    let lowered = if text("ApiVersion") == text("DefaultAPIVersion") {
        String::new()
    } else {
        format!(" (downgraded from {})", text("DefaultAPIVersion"))
    };
    format!(
        "Client: Sampan\n Version:           {}\n API version:       {}{lowered}\n OS/Arch:           {}/{}\n Context:           default\n",
        text("Version"),
        text("ApiVersion"),
        text("Os"),
        text("Arch"),
    )
}

fn server_text(server: &Value) -> String {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let platform = text(&server["Platform"], "Name");
    let title = if platform.is_empty() { String::new() } else { format!(" {platform}") };
    let mut out = format!("\nServer:{title}\n");
    let engine = json!([{"Name": "Engine", "Version": server["Version"], "Details": server}]);
    let components = server["Components"].as_array().filter(|list| !list.is_empty());
    for component in components.unwrap_or(engine.as_array().unwrap_or(&Vec::new())) {
        let details = &component["Details"];
        out.push_str(&format!(" {}:\n", text(component, "Name")));
        out.push_str(&format!("  Version:          {}\n", text(component, "Version")));
        if text(component, "Name") == "Engine" {
            let lines = [
                (
                    "API version",
                    format!(
                        "{} (minimum version {})",
                        text(details, "ApiVersion"),
                        text(details, "MinAPIVersion")
                    ),
                ),
                ("Go version", text(details, "GoVersion")),
                ("Git commit", text(details, "GitCommit")),
                ("Built", text(details, "BuildTime")),
                ("OS/Arch", format!("{}/{}", text(details, "Os"), text(details, "Arch"))),
                ("Experimental", text(details, "Experimental")),
            ];
            for (key, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
                out.push_str(&format!("  {:<17} {value}\n", format!("{key}:")));
            }
        } else {
            let mut details: Vec<_> = details.as_object().into_iter().flatten().collect();
            details.sort_by_key(|(key, _)| key.as_str());
            for (key, value) in details {
                let value = value.as_str().unwrap_or_default();
                out.push_str(&format!("  {:<17} {value}\n", format!("{key}:")));
            }
        }
    }
    out
}
