//! `login` and `logout`.

use std::io::Read;

use anyhow::{Context, Result, bail};
use clap::Args;
use http::Method;

use crate::client::Query;
use crate::config::{Credentials, INDEX_SERVER, server_key};
use crate::ctx::Ctx;
use crate::report::{self, Exit};
use crate::terminal;

/// `sampan login`.
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Password
    #[arg(short = 'p', long, value_name = "string")]
    password: Option<String>,
    /// Take the password from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Username
    #[arg(short = 'u', long, value_name = "string")]
    username: Option<String>,
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// `sampan logout`.
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// Checks a login with the daemon and stores it.
pub(crate) async fn login(ctx: &Ctx, args: LoginArgs) -> Result<Exit> {
    let server = args.server.as_deref().map_or_else(|| INDEX_SERVER.to_owned(), server_key);
    let mut config = ctx.config()?;
    let client = ctx.client().await?;
    let credentials = ask(&args, &server)?;
    let body = credentials.to_json();
    let reply = client.json(Method::POST, "/auth", &Query::new(), Some(&body)).await?;
    let stored = match reply["IdentityToken"].as_str().filter(|token| !token.is_empty()) {
        Some(token) => {
            Credentials { identity_token: token.to_owned(), password: String::new(), ..credentials }
        }
        None => credentials,
    };
    config
        .store(&stored)
        .with_context(|| format!("failed to store the login in {}", config.path().display()))?;
    report::say(reply["Status"].as_str().unwrap_or("Login Succeeded"))?;
    Ok(report::OK)
}

fn ask(args: &LoginArgs, server: &str) -> Result<Credentials> {
    if args.password.is_some() && args.password_stdin {
        bail!("--password and --password-stdin are mutually exclusive");
    }
    if args.password_stdin && args.username.is_none() {
        bail!("Must provide --username with --password-stdin");
    }
    if args.password.is_some() {
        eprintln!("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let interactive = terminal::stdin_is_terminal();
    let username = match &args.username {
        Some(name) => name.clone(),
        None if !interactive => {
            bail!("Error: Cannot perform an interactive login from a non TTY device")
        }
        None => terminal::prompt("Username: ", false)?,
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("failed to read the password")?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None if !interactive => {
            bail!("Error: Cannot perform an interactive login from a non TTY device")
        }
        None => terminal::prompt("Password: ", true)?,
    };
    if username.is_empty() || password.is_empty() {
        bail!("Error: username and password are required");
    }
    Ok(Credentials { username, password, server: server.to_owned(), ..Credentials::default() })
}

/// Forgets a login.
pub(crate) fn logout(ctx: &Ctx, args: &LogoutArgs) -> Result<Exit> {
    let server = args.server.as_deref().map_or_else(|| INDEX_SERVER.to_owned(), server_key);
    let known = ctx.config()?.erase(&server)?;
    if known || server == INDEX_SERVER {
        report::say(&format!("Removing login credentials for {server}"))?;
    } else {
        report::say(&format!("Not logged in to {server}"))?;
    }
    Ok(report::OK)
}
