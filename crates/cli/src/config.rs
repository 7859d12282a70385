//! The client's configuration file, shared with docker: `~/.docker/config.json`.
//!
//! Reads `auths`, `credHelpers`, `credsStore`, `detachKeys`, `psFormat`; writes only `auths` and keeps every other key.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value, json};

use crate::opts::reference::{DEFAULT_REGISTRY, Reference};

/// The key docker stores its default registry under.
pub(crate) const INDEX_SERVER: &str = "https://index.docker.io/v1/";

/// Login for one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) identity_token: String,
    pub(crate) server: String,
}

impl Credentials {
    /// The object the API calls AuthConfig.
    pub(crate) fn to_json(&self) -> Value {
        let mut out = Map::new();
        let fields = [
            ("username", &self.username),
            ("password", &self.password),
            ("identitytoken", &self.identity_token),
            ("serveraddress", &self.server),
        ];
        for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            out.insert(key.to_owned(), Value::from(value.as_str()));
        }
        Value::Object(out)
    }

    /// Value of `X-Registry-Auth`.
    pub(crate) fn header(&self) -> String {
        URL_SAFE.encode(self.to_json().to_string())
    }
}

/// The file's content and where it lives.
pub(crate) struct ConfigFile {
    path: PathBuf,
    content: Map<String, Value>,
}

impl ConfigFile {
    /// A setting that is a text: `psFormat`.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.content.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// Loads the file; a missing one is empty, a broken one is an error.
    pub(crate) fn load(dir: Option<PathBuf>) -> Result<Self> {
        let dir = dir
            .or_else(|| std::env::var_os("DOCKER_CONFIG").map(PathBuf::from))
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")))
            .unwrap_or_else(|| PathBuf::from("/root/.docker"));
        let path = dir.join("config.json");
        let content = match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().is_empty() => Map::new(),
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("failed to read {}", path.display()))?,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Map::new(),
            Err(err) => {
                return Err(err).with_context(|| format!("failed to read {}", path.display()));
            }
        };
        Ok(ConfigFile { path, content })
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// `detachKeys`, if set.
    pub(crate) fn detach_keys(&self) -> Option<&str> {
        self.content.get("detachKeys")?.as_str()
    }

    /// Login for the registry that holds `image`; empty when there is none.
    pub(crate) fn for_image(&self, image: &str) -> Credentials {
        let registry = Reference::parse(image).map(|r| r.registry().to_owned());
        let registry = registry.unwrap_or_else(|_| DEFAULT_REGISTRY.to_owned());
        self.get(&server_key(&registry)).unwrap_or_default()
    }

    /// Login stored for `server`: a credential helper is asked first.
    pub(crate) fn get(&self, server: &str) -> Option<Credentials> {
        if let Some(helper) = self.helper(server) {
            return helper_get(helper, server);
        }
        let auths = self.content.get("auths")?.as_object()?;
        let wanted = host_of(server);
        let entry = auths.get(server).or_else(|| {
            auths.iter().find(|(key, _)| host_of(key) == wanted).map(|(_, entry)| entry)
        })?;
        Some(decode(server, entry))
    }

    /// Every stored login, for `X-Registry-Config`.
    pub(crate) fn all(&self) -> HashMap<String, Credentials> {
        let listed = |key: &str| {
            self.content.get(key).and_then(Value::as_object).into_iter().flat_map(|map| map.keys())
        };
        listed("auths")
            .chain(listed("credHelpers"))
            .filter_map(|server| Some((server.clone(), self.get(server)?)))
            .collect()
    }

    /// Stores a login (in the helper, if one is configured) and says where it went.
    pub(crate) fn store(&mut self, credentials: &Credentials) -> Result<()> {
        if let Some(helper) = self.helper(&credentials.server) {
            return helper_store(helper, credentials);
        }
        let entry = if credentials.identity_token.is_empty() {
            json!({"auth": STANDARD.encode(format!("{}:{}", credentials.username, credentials.password))})
        } else {
            json!({
                "auth": STANDARD.encode(format!("{}:", credentials.username)),
                "identitytoken": credentials.identity_token,
            })
        };
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        auths[credentials.server.as_str()] = entry;
        self.save()
    }

    /// Forgets the login for `server`; true when there was one.
    pub(crate) fn erase(&mut self, server: &str) -> Result<bool> {
        if let Some(helper) = self.helper(server) {
            run_helper(helper, "erase", server)?;
            return Ok(true);
        }
        let auths = self.content.get_mut("auths").and_then(Value::as_object_mut);
        let wanted = host_of(server).to_owned();
        let known = auths.map(|auths| {
            let before = auths.len();
            auths.retain(|key, _| host_of(key) != wanted);
            auths.len() < before
        });
        if known == Some(true) {
            self.save()?;
        }
        Ok(known == Some(true))
    }

    fn helper(&self, server: &str) -> Option<&str> {
        let by_registry = self.content.get("credHelpers").and_then(|map| map.get(host_of(server)));
        by_registry
            .or_else(|| self.content.get("credsStore"))?
            .as_str()
            .filter(|name| !name.is_empty())
    }

    fn save(&self) -> Result<()> {
        let dir = self.path.parent().context("the configuration file has no folder")?;
        std::fs::create_dir_all(dir)
            .with_context(|| format!("failed to create {}", dir.display()))?;
        let fresh = self.path.with_extension("json.new");
        let write = || -> std::io::Result<()> {
            let mut options = std::fs::OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(serde_json::to_string_pretty(&self.content)?.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, &self.path)
        };
        write().with_context(|| format!("failed to write {}", self.path.display()))
    }
}

/// The name a registry's login is stored under.
pub(crate) fn server_key(registry: &str) -> String {
    match host_of(registry) {
        "" | "docker.io" | "index.docker.io" => INDEX_SERVER.to_owned(),
        _ => registry.to_owned(),
    }
}

fn host_of(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn decode(server: &str, entry: &Value) -> Credentials {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let decoded =
        STANDARD.decode(text("auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (username, password) = match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((user, password)) => (user.to_owned(), password.trim_end_matches('\0').to_owned()),
        None => (text("username"), text("password")),
    };
    Credentials {
        username,
        password,
        identity_token: text("identitytoken"),
        server: server.to_owned(),
    }
}

fn helper_get(helper: &str, server: &str) -> Option<Credentials> {
    let reply: Value = serde_json::from_slice(&run_helper(helper, "get", server).ok()?).ok()?;
    let username = reply.get("Username")?.as_str()?.to_owned();
    let secret = reply.get("Secret")?.as_str()?.to_owned();
    let server = server.to_owned();
    Some(if username == "<token>" {
        Credentials { identity_token: secret, server, ..Credentials::default() }
    } else {
        Credentials { username, password: secret, server, ..Credentials::default() }
    })
}

fn helper_store(helper: &str, credentials: &Credentials) -> Result<()> {
    let (user, secret) = if credentials.identity_token.is_empty() {
        (credentials.username.as_str(), credentials.password.as_str())
    } else {
        ("<token>", credentials.identity_token.as_str())
    };
    let body = json!({"ServerURL": credentials.server, "Username": user, "Secret": secret});
    run_helper(helper, "store", &body.to_string()).map(drop)
}

fn run_helper(helper: &str, verb: &str, input: &str) -> Result<Vec<u8>> {
    let program = format!("docker-credential-{helper}");
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to run the credential helper {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    anyhow::ensure!(
        output.status.success(),
        "error from credential helper {program}: {}",
        String::from_utf8_lossy(&output.stdout).trim()
    );
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_login_is_found_again_and_other_keys_survive() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, r#"{"HttpHeaders":{"A":"b"},"detachKeys":"ctrl-x"}"#).unwrap();
        let mut file = ConfigFile::load(Some(dir.path().to_owned())).unwrap();
        let login = Credentials {
            username: "me".to_owned(),
            password: "p:w".to_owned(),
            server: "localhost:5000".to_owned(),
            ..Credentials::default()
        };
        file.store(&login).unwrap();
        let mut again = ConfigFile::load(Some(dir.path().to_owned())).unwrap();
        assert_eq!(again.for_image("localhost:5000/app:1"), login);
        assert_eq!(again.for_image("busybox"), Credentials::default());
        assert_eq!(again.detach_keys(), Some("ctrl-x"));
        assert!(again.erase("https://localhost:5000").unwrap());
        assert!(!again.erase("localhost:5000").unwrap());
        assert!(std::fs::read_to_string(&path).unwrap().contains("HttpHeaders"));
    }

    #[test]
    fn the_default_registry_has_dockers_key() {
        assert_eq!(server_key("docker.io"), INDEX_SERVER);
        assert_eq!(server_key("reg:5000"), "reg:5000");
    }
}
