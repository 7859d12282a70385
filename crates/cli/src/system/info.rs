//! `info`.

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use crate::client::Query;
use crate::ctx::Ctx;
use crate::format::{self, units::bytes_size};
use crate::report::{self, Exit};

/// `sampan info`.
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short = 'f', long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
}

/// Shows the daemon's state; its warnings go to standard error.
pub(crate) async fn run(ctx: &Ctx, args: InfoArgs) -> Result<Exit> {
    let info = ctx.client().await?.get("/info", &Query::new()).await?;
    if !args.format.is_empty() {
        report::say(&format::render_one(&args.format, &info)?)?;
        return Ok(report::OK);
    }
    report::print(&text(&info))?;
    for warning in info["Warnings"].as_array().into_iter().flatten() {
        eprintln!("{}", warning.as_str().unwrap_or_default());
    }
    Ok(report::OK)
}

/// Lines with docker's indentation.
struct Page(String);

impl Page {
    fn line(&mut self, depth: usize, key: &str, value: &str) {
        self.0.push_str(&format!("{}{key}: {value}\n", " ".repeat(depth)));
    }

    fn opt(&mut self, depth: usize, key: &str, value: &Value) {
        match value {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => self.line(depth, key, text),
            other => self.line(depth, key, &other.to_string()),
        }
    }

    fn title(&mut self, depth: usize, key: &str) {
        self.0.push_str(&format!("{}{key}:\n", " ".repeat(depth)));
    }
}

fn words(list: &Value) -> String {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

fn text(info: &Value) -> String {
    let mut page = Page(format!(
        "Client: Sampan\n Version:    {}\n Context:    default\n Debug Mode: false\n\nServer:\n",
        env!("CARGO_PKG_VERSION")
    ));
    counts(&mut page, info);
    drivers(&mut page, info);
    runtimes(&mut page, info);
    machine(&mut page, info);
    rest(&mut page, info);
    page.0.push('\n');
    page.0
}

fn counts(page: &mut Page, info: &Value) {
    page.opt(1, "Containers", &info["Containers"]);
    page.opt(2, "Running", &info["ContainersRunning"]);
    page.opt(2, "Paused", &info["ContainersPaused"]);
    page.opt(2, "Stopped", &info["ContainersStopped"]);
    page.opt(1, "Images", &info["Images"]);
    page.opt(1, "Server Version", &info["ServerVersion"]);
}

fn drivers(page: &mut Page, info: &Value) {
    page.opt(1, "Storage Driver", &info["Driver"]);
    for pair in info["DriverStatus"].as_array().into_iter().flatten() {
        page.line(2, pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default());
    }
    page.opt(1, "Logging Driver", &info["LoggingDriver"]);
    page.opt(1, "Cgroup Driver", &info["CgroupDriver"]);
    page.opt(1, "Cgroup Version", &info["CgroupVersion"]);
    page.title(1, "Plugins");
    for kind in ["Volume", "Network", "Authorization", "Log"] {
        let names = words(&info["Plugins"][kind]);
        if !names.is_empty() {
            page.line(2, kind, &names);
        }
    }
}

fn runtimes(page: &mut Page, info: &Value) {
    let swarm = info["Swarm"]["LocalNodeState"].as_str().unwrap_or("inactive");
    page.line(1, "Swarm", swarm);
    let mut names: Vec<&str> =
        info["Runtimes"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if !names.is_empty() {
        page.line(1, "Runtimes", &names.join(" "));
    }
    page.opt(1, "Default Runtime", &info["DefaultRuntime"]);
    page.opt(1, "Init Binary", &info["InitBinary"]);
    let commits = [
        ("containerd version", "ContainerdCommit"),
        ("runc version", "RuncCommit"),
        ("init version", "InitCommit"),
    ];
    for (title, key) in commits {
        if let Some(id) = info[key]["ID"].as_str() {
            page.line(1, title, id);
        }
    }
    let options = info["SecurityOptions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if options.is_empty() {
        return;
    }
    page.title(1, "Security Options");
    for option in options.iter().filter_map(Value::as_str) {
        for (at, field) in option.split(',').enumerate() {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            match (at, key) {
                (0, _) => page.0.push_str(&format!("  {value}\n")),
                (_, "profile") => page.line(3, "Profile", value),
                _ => page.line(3, key, value),
            }
        }
    }
}

fn machine(page: &mut Page, info: &Value) {
    page.opt(1, "Kernel Version", &info["KernelVersion"]);
    page.opt(1, "Operating System", &info["OperatingSystem"]);
    page.opt(1, "OSType", &info["OSType"]);
    page.opt(1, "Architecture", &info["Architecture"]);
    page.opt(1, "CPUs", &info["NCPU"]);
    page.line(1, "Total Memory", &bytes_size(info["MemTotal"].as_f64().unwrap_or(0.0)));
    page.opt(1, "Name", &info["Name"]);
    page.opt(1, "ID", &info["ID"]);
    page.opt(1, "Docker Root Dir", &info["DockerRootDir"]);
    page.opt(1, "Debug Mode", &info["Debug"]);
}

fn rest(page: &mut Page, info: &Value) {
    page.opt(1, "HTTP Proxy", &info["HttpProxy"]);
    page.opt(1, "HTTPS Proxy", &info["HttpsProxy"]);
    page.opt(1, "No Proxy", &info["NoProxy"]);
    let labels = info["Labels"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !labels.is_empty() {
        page.title(1, "Labels");
        for label in labels.iter().filter_map(Value::as_str) {
            page.0.push_str(&format!("  {label}\n"));
        }
    }
    page.opt(1, "Experimental", &info["ExperimentalBuild"]);
    let registries = &info["RegistryConfig"];
    page.title(1, "Insecure Registries");
    for (name, config) in registries["IndexConfigs"].as_object().into_iter().flatten() {
        if config["Secure"] == false {
            page.0.push_str(&format!("  {name}\n"));
        }
    }
    for range in registries["InsecureRegistryCIDRs"].as_array().into_iter().flatten() {
        page.0.push_str(&format!("  {}\n", range.as_str().unwrap_or_default()));
    }
    let mirrors = registries["Mirrors"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !mirrors.is_empty() {
        page.title(1, "Registry Mirrors");
        for mirror in mirrors.iter().filter_map(Value::as_str) {
            page.0.push_str(&format!("  {mirror}\n"));
        }
    }
    page.opt(1, "Live Restore Enabled", &info["LiveRestoreEnabled"]);
    page.opt(1, "Product License", &info["ProductLicense"]);
}
