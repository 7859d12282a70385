//! `build`: send a context, show the stream.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::context::{self, Prepared};
use crate::client::Query;
use crate::ctx::Ctx;
use crate::opts;
use crate::progress::{self, Display};
use crate::report::{self, Exit};
use crate::tarball;

/// `sampan build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Add a custom host-to-IP mapping ("host:ip")
    #[arg(long, value_name = "list", value_parser = opts::extra_host)]
    add_host: Vec<String>,
    /// Set build-time variables
    #[arg(long, value_name = "list")]
    build_arg: Vec<String>,
    /// Images to consider as cache sources
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    cache_from: Vec<String>,
    /// Set the parent cgroup for the RUN instructions during build
    #[arg(long, value_name = "string")]
    cgroup_parent: Option<String>,
    /// CPU shares (relative weight)
    #[arg(short = 'c', long, value_name = "int")]
    cpu_shares: Option<i64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string")]
    cpuset_cpus: Option<String>,
    /// Name of the Dockerfile (Default is "PATH/Dockerfile")
    #[arg(short = 'f', long, value_name = "string")]
    file: Option<String>,
    /// Always remove intermediate containers
    #[arg(long)]
    force_rm: bool,
    /// Write the image ID to the file
    #[arg(long, value_name = "string")]
    iidfile: Option<String>,
    /// Set metadata for an image
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Memory limit
    #[arg(short = 'm', long, value_name = "bytes", value_parser = opts::ram)]
    memory: Option<i64>,
    /// Set the networking mode for the RUN instructions during build
    #[arg(long, value_name = "string")]
    network: Option<String>,
    /// Do not use cache when building the image
    #[arg(long)]
    no_cache: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Always attempt to pull a newer version of the image
    #[arg(long)]
    pull: bool,
    /// Suppress the build output and print image ID on success
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Remove intermediate containers after a successful build
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, action = clap::ArgAction::Set)]
    rm: bool,
    /// Secret to expose to the build ("id=mysecret,src=/local/secret" or "id=mysecret,env=NAME")
    #[arg(long, value_name = "list")]
    secret: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = opts::ram)]
    shm_size: Option<i64>,
    /// Squash newly built layers into a single new layer
    #[arg(long)]
    squash: bool,
    /// Name and optionally a tag in the "name:tag" format
    #[arg(short = 't', long, value_name = "list")]
    tag: Vec<String>,
    /// Set the target build stage to build
    #[arg(long, value_name = "string")]
    target: Option<String>,
    /// Ulimit options
    #[arg(long, value_name = "ulimit")]
    ulimit: Vec<String>,
    #[arg(value_name = "PATH | URL | -")]
    context: String,
}

/// Builds an image.
pub(crate) async fn run(ctx: &Ctx, args: &BuildArgs) -> Result<Exit> {
    let (prepared, remote) = prepare(args)?;
    let mut query = query(args)?.with("dockerfile", prepared.dockerfile);
    if let Some(url) = remote {
        query = query.with("remote", url);
    }
    let client = ctx.client().await?;
    let mut headers = headers(ctx)?;
    if !args.secret.is_empty() {
        headers.insert(HeaderName::from_static("x-build-secrets"), secrets(&args.secret)?);
    }
    let stream = client.bytes(http::Method::POST, "/build", &query, headers, prepared.body).await?;
    let aux = progress::show(stream, Display::stdout(args.quiet)).await?;
    let id = aux.iter().rev().find_map(|aux| aux["ID"].as_str()).unwrap_or_default();
    if args.quiet {
        report::say(id)?;
    }
    if let Some(path) = &args.iidfile {
        std::fs::write(path, id).with_context(|| format!("failed to write {path}"))?;
    }
    Ok(report::OK)
}

/// The context, and the URL when the daemon shall fetch it.
fn prepare(args: &BuildArgs) -> Result<(Prepared, Option<String>)> {
    let word = args.context.as_str();
    if word == "-" {
        return Ok((from_stdin(args)?, None));
    }
    if is_url(word) {
        let dockerfile = args.file.clone().unwrap_or_else(|| "Dockerfile".to_owned());
        let body = bollard::body_full(Bytes::new());
        return Ok((Prepared { body, dockerfile }, Some(word.to_owned())));
    }
    Ok((context::folder(word, args.file.as_deref())?, None))
}

fn is_url(word: &str) -> bool {
    ["http://", "https://", "git://", "git@", "github.com/"].iter().any(|p| word.starts_with(p))
}

/// Standard input is an archive (plain or compressed) or a Dockerfile; the first bytes tell.
fn from_stdin(args: &BuildArgs) -> Result<Prepared> {
    let mut stdin = std::io::stdin();
    let mut head = vec![0; 512];
    let mut filled = 0;
    while filled < head.len() {
        match stdin.read(&mut head[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    head.truncate(filled);
    if is_archive(&head) {
        let body = tarball::reader_body(std::io::Cursor::new(head).chain(stdin));
        let dockerfile = args.file.clone().unwrap_or_else(|| "Dockerfile".to_owned());
        return Ok(Prepared { body, dockerfile });
    }
    stdin.read_to_end(&mut head)?;
    Ok(context::only_dockerfile(head))
}

fn is_archive(head: &[u8]) -> bool {
    const COMPRESSED: [&[u8]; 4] =
        [&[0x1f, 0x8b], b"BZh", &[0xfd, b'7', b'z', b'X', b'Z'], &[0x28, 0xb5, 0x2f, 0xfd]];
    COMPRESSED.iter().any(|magic| head.starts_with(magic))
        || head.get(257..262).is_some_and(|magic| magic == b"ustar")
}

fn query(args: &BuildArgs) -> Result<Query> {
    let mut build_args: BTreeMap<String, Option<String>> = BTreeMap::new();
    for word in &args.build_arg {
        match word.split_once('=') {
            Some((key, value)) => build_args.insert(key.to_owned(), Some(value.to_owned())),
            None => build_args.insert(word.clone(), std::env::var(word).ok()),
        };
    }
    let ulimits: Result<Vec<_>, _> = args.ulimit.iter().map(|word| opts::ulimit(word)).collect();
    let ulimits = ulimits.map_err(|err| anyhow!(err))?;
    let number = |n: Option<i64>| n.map(|n| n.to_string());
    let mut query = Query::new();
    for tag in &args.tag {
        crate::opts::reference::Reference::parse(tag)
            .map_err(|err| anyhow!("invalid argument {tag:?} for \"-t, --tag\" flag: {err}"))?;
        query = query.with("t", tag.as_str());
    }
    for host in &args.add_host {
        query = query.with("extrahosts", host.as_str());
    }
    Ok(query
        .with("buildargs", serde_json::to_string(&build_args)?)
        .with("labels", serde_json::to_string(&opts::pairs(&args.label))?)
        .with("cachefrom", serde_json::to_string(&args.cache_from)?)
        .with("ulimits", serde_json::to_string(&ulimits)?)
        .with("rm", if args.rm { "1" } else { "0" })
        .flag("forcerm", args.force_rm)
        .flag("nocache", args.no_cache)
        .flag("pull", args.pull)
        .flag("q", args.quiet)
        .flag("squash", args.squash)
        .opt("target", args.target.as_deref())
        .opt("platform", args.platform.as_deref())
        .opt("networkmode", args.network.as_deref())
        .opt("cgroupparent", args.cgroup_parent.as_deref())
        .opt("cpusetcpus", args.cpuset_cpus.as_deref())
        .opt("cpushares", number(args.cpu_shares).as_deref())
        .opt("memory", number(args.memory).as_deref())
        .opt("shmsize", number(args.shm_size).as_deref())
        .with("version", "1"))
}

/// The contents of `--secret`, by id. They travel in a header, so that no context and no layer has them.
fn secrets(words: &[String]) -> Result<HeaderValue> {
    /// BuildKit's limit for one secret is 500 KiB; headers hold less.
    const MOST: usize = 64 << 10;
    let mut all = Map::new();
    for word in words {
        let (id, content) = secret(word)?;
        let text = base64::engine::general_purpose::STANDARD.encode(content);
        all.insert(id, Value::String(text));
    }
    let encoded = base64::engine::general_purpose::URL_SAFE.encode(Value::Object(all).to_string());
    if encoded.len() > MOST {
        bail!("the secrets of a build may have {} KiB in all", (MOST * 9 / 16) >> 10);
    }
    let mut value = HeaderValue::try_from(encoded)?;
    value.set_sensitive(true);
    Ok(value)
}

/// `id=NAME[,src=FILE|,env=VARIABLE]`; without a source the variable of that name, else the file.
fn secret(word: &str) -> Result<(String, Vec<u8>)> {
    let field = |names: &[&str]| {
        word.split(',').find_map(|part| {
            let (key, value) = part.split_once('=')?;
            names.contains(&key).then(|| value.to_owned())
        })
    };
    let id = field(&["id"]).ok_or_else(|| anyhow!("invalid secret {word:?}: id is missing"))?;
    let variable = field(&["env"]);
    let content = match (variable, field(&["src", "source"])) {
        (Some(name), _) => std::env::var_os(&name)
            .ok_or_else(|| anyhow!("secret {id}: the variable {name} is not set"))?
            .into_encoded_bytes(),
        (None, source) => {
            let path = source.unwrap_or_else(|| id.clone());
            std::fs::read(&path).with_context(|| format!("secret {id}: failed to read {path}"))?
        }
    };
    Ok((id, content))
}

fn headers(ctx: &Ctx) -> Result<HeaderMap> {
    let logins: Map<String, Value> =
        ctx.config()?.all().into_iter().map(|(server, login)| (server, login.to_json())).collect();
    let encoded =
        base64::engine::general_purpose::URL_SAFE.encode(Value::Object(logins).to_string());
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers.insert(HeaderName::from_static("x-registry-config"), HeaderValue::try_from(encoded)?);
    Ok(headers)
}
