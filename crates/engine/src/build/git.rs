//! Contexts in Git repositories: `https://host/x.git#ref:directory`, fetched by the host's `git`.
//!
//! Only the wanted commit is fetched when the server can do that. Hooks, credentials of the daemon's user and its
//! configuration play no part; a password is never asked for.

use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Protocols that a client may make the daemon speak. Not `file` and not `ext`: both would reach into the host.
pub(super) const PROTOCOLS: &str = "http:https:git:ssh";

/// What a URL with a fragment names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    url: String,
    /// A branch, a tag or a commit; `HEAD` when none is named.
    reference: String,
    /// Where in the repository the context is; empty for its root.
    directory: String,
}

impl Remote {
    /// As moby reads them; `None` when this is no Git repository.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        let by_scheme = ["git://", "git@", "ssh://"].iter().any(|head| url.starts_with(head));
        let by_name = url.starts_with("http") && url.ends_with(".git");
        let hub = url.starts_with("github.com/");
        if !(by_scheme || by_name || hub) {
            return None;
        }
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        Some(Remote {
            url: if hub { format!("https://{url}") } else { url.to_owned() },
            reference: if reference.is_empty() { "HEAD" } else { reference }.to_owned(),
            directory: directory.to_owned(),
        })
    }

    /// Checks the repository out into `root`; returns the directory that is the context.
    pub(super) async fn check_out(&self, root: &Path, protocols: &str) -> Result<PathBuf> {
        if self.reference.starts_with('-') || self.url.starts_with('-') {
            return Err(Error::invalid(format!("invalid refspec: {}", self.reference)));
        }
        let run = async |args: &[&str]| git(root, protocols, args).await;
        run(&["init", "--quiet"]).await?;
        run(&["remote", "add", "origin", &self.url]).await?;
        let one = run(&["fetch", "--quiet", "--depth", "1", "origin", &self.reference]).await;
        let at = match one {
            Ok(()) => "FETCH_HEAD",
            // Dumb servers and abbreviated commits: everything, then the one that was meant.
            Err(_) => {
                run(&["fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/heads/*"])
                    .await?;
                self.reference.as_str()
            }
        };
        run(&["checkout", "--quiet", "--force", "--detach", at]).await?;
        run(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth", "1"]).await?;
        let inside = super::scope::follow(root, Path::new(self.directory.trim_start_matches('/')))
            .ok()
            .filter(|inside| inside.is_dir());
        inside.ok_or_else(|| {
            Error::invalid(format!(
                "error setting git context, not a directory: {}",
                self.directory
            ))
        })
    }
}

async fn git(root: &Path, protocols: &str, args: &[&str]) -> Result<()> {
    let mut command = tokio::process::Command::new("git");
    command.arg("-C").arg(root).args(["-c", "core.hooksPath=/dev/null"]).args(args);
    command.env("GIT_ALLOW_PROTOCOL", protocols).env("GIT_TERMINAL_PROMPT", "0");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|err| match err.kind() {
        std::io::ErrorKind::NotFound => {
            Error::invalid("unable to prepare context: unable to find 'git' on the daemon's host")
        }
        _ => Error::caused("failed to run git", err),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::invalid(format!("error fetching: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_told_from_archives() {
        let read = |text| Remote::parse(text).map(|it| (it.url, it.reference, it.directory));
        let is = |url: &str, reference: &str, directory: &str| {
            Some((url.to_owned(), reference.to_owned(), directory.to_owned()))
        };
        assert_eq!(read("https://h/x.git"), is("https://h/x.git", "HEAD", ""));
        assert_eq!(read("git://h/x#v1:sub/dir"), is("git://h/x", "v1", "sub/dir"));
        assert_eq!(read("github.com/a/b#:sub"), is("https://github.com/a/b", "HEAD", "sub"));
        assert_eq!(read("git@h:a/b.git#main"), is("git@h:a/b.git", "main", ""));
        assert_eq!(read("https://h/x.tar.gz"), None);
        assert_eq!(read("/srv/x.git"), None);
    }

    async fn say(dir: &Path, args: &[&str]) {
        git(dir, "file", args).await.unwrap();
    }

    /// A repository with a file on its branch `main`, and another on `other` below `sub`.
    async fn repository(dir: &Path) {
        say(dir, &["init", "--quiet", "--initial-branch", "main"]).await;
        let commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "x"];
        std::fs::write(dir.join("Dockerfile"), "FROM scratch").unwrap();
        say(dir, &["add", "."]).await;
        say(dir, &commit).await;
        say(dir, &["checkout", "--quiet", "-b", "other"]).await;
        std::fs::create_dir(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/Dockerfile"), "FROM other").unwrap();
        say(dir, &["add", "."]).await;
        say(dir, &commit).await;
        say(dir, &["checkout", "--quiet", "main"]).await;
    }

    #[tokio::test]
    async fn a_branch_and_a_directory_are_checked_out_and_nothing_outside() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        repository(from.path()).await;
        let url = format!("file://{}", from.path().display());
        let remote = |reference: &str, directory: &str| Remote {
            url: url.clone(),
            reference: reference.to_owned(),
            directory: directory.to_owned(),
        };
        let at = to.path().join("a");
        std::fs::create_dir(&at).unwrap();
        let inside = remote("other", "sub").check_out(&at, "file").await.unwrap();
        assert_eq!(std::fs::read_to_string(inside.join("Dockerfile")).unwrap(), "FROM other");

        for (name, reference, directory, protocols) in [
            ("b", "HEAD", "nope", "file"),
            ("c", "nope", "", "file"),
            ("d", "HEAD", "", PROTOCOLS),
            ("e", "--upload-pack=x", "", "file"),
        ] {
            let at = to.path().join(name);
            std::fs::create_dir(&at).unwrap();
            let refused = remote(reference, directory).check_out(&at, protocols).await;
            assert!(refused.is_err(), "{name}");
        }
    }
}
