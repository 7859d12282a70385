//! `docker search`: Docker Hub's search where it is spoken (`/v1/search`), else what the registry's catalog has.
//!
//! The distribution protocol has no search, but every registry that people run themselves lists its repositories; a
//! name that holds the term is a hit there. Mirrors are asked before Docker Hub, so that a site without a way out finds
//! what it has.

use super::client::{Access, Client, body, empty};
use super::error::RegistryError;
use crate::{Error, Reference, Result, Store};
use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;
use types::image::{AuthConfig, SearchResult};

const HUB_SEARCH: &str = "https://index.docker.io";
/// Names in one page of a catalog, and how many pages are read: 20,000 repositories are searched.
const PAGE: usize = 1000;
const MAX_PAGES: usize = 20;

/// What `/v1/search` answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Found {
    results: Vec<SearchResult>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

impl Store {
    /// At most `limit` repositories that `term` (`[host[:port]/]words`) finds.
    ///
    /// # Errors
    /// The registry cannot be reached, or has neither a search nor a catalog for these credentials.
    pub async fn search(
        &self,
        term: &str,
        limit: usize,
        auth: &AuthConfig,
    ) -> Result<Vec<SearchResult>> {
        let (host, words) = split(term);
        let hub = host.is_none();
        let any = Reference::parse(&format!("{}/search", host.unwrap_or("docker.io")))?;
        // Mirrors belong to what is pulled; another registry is not told of a repository that is none.
        let access = if hub { Access::Pull } else { Access::Login };
        let clients = Client::connect(&self.0.registry, &any, auth, access).await;
        let mut last = None;
        for client in clients? {
            let base = if hub && !client.is_mirror() { HUB_SEARCH } else { "" };
            match search_one(&client, base, words, limit).await {
                Ok(mut found) => {
                    for result in &mut found {
                        if let Some(host) = host {
                            result.name = format!("{host}/{}", result.name);
                        }
                    }
                    found.truncate(limit);
                    return Ok(found);
                }
                Err(err) => last = Some(err),
            }
        }
        Err(last.map_or(Error::Cancelled, Error::from))
    }
}

/// The registry that a term names, and the rest.
fn split(term: &str) -> (Option<&str>, &str) {
    match term.split_once('/') {
        Some((host, rest)) if host == "localhost" || host.contains(['.', ':']) => match host {
            "docker.io" | "index.docker.io" => (None, rest),
            host => (Some(host), rest),
        },
        _ => (None, term),
    }
}

async fn search_one(
    client: &Client,
    base: &str,
    words: &str,
    limit: usize,
) -> Result<Vec<SearchResult>, RegistryError> {
    let path = format!("{base}/v1/search?q={}&n={limit}", super::auth::escape(words));
    let reply = client.request(Method::GET, &path, HeaderMap::new(), empty).await?;
    let status = reply.status();
    if status == StatusCode::OK {
        let found: Found = serde_json::from_slice(&body(reply).await?)
            .map_err(|err| RegistryError::Body { status, detail: err.to_string() })?;
        return Ok(found.results);
    }
    let names = catalog(client).await.map_err(|_no_catalog| RegistryError::Search(status))?;
    let hit = |name: &String| words.split_whitespace().all(|word| name.contains(word));
    let result = |name: String| {
        // Docker shows the repositories of `library` by their last name.
        let name = name.strip_prefix("library/").map(str::to_owned).unwrap_or(name);
        SearchResult { name, ..SearchResult::default() }
    };
    Ok(names.into_iter().filter(hit).map(result).collect())
}

async fn catalog(client: &Client) -> Result<Vec<String>, RegistryError> {
    let mut path = format!("/v2/_catalog?n={PAGE}");
    let mut names = Vec::new();
    for _ in 0..MAX_PAGES {
        let reply = client.request(Method::GET, &path, HeaderMap::new(), empty).await?;
        let status = reply.status();
        if status != StatusCode::OK {
            return Err(RegistryError::Search(status));
        }
        let next = reply.headers().get(header::LINK).and_then(|link| next(link.to_str().ok()?));
        let page: Catalog = serde_json::from_slice(&body(reply).await?)
            .map_err(|err| RegistryError::Body { status, detail: err.to_string() })?;
        names.extend(page.repositories.unwrap_or_default());
        match next {
            Some(next) => path = next,
            None => break,
        }
    }
    Ok(names)
}

/// `</v2/_catalog?last=b&n=2>; rel="next"`.
fn next(link: &str) -> Option<String> {
    let (path, rest) = link.strip_prefix('<')?.split_once('>')?;
    (rest.contains("next") && path.starts_with('/')).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_from_a_word() {
        assert_eq!(split("nginx"), (None, "nginx"));
        assert_eq!(split("library/nginx"), (None, "library/nginx"));
        assert_eq!(split("localhost/x"), (Some("localhost"), "x"));
        assert_eq!(split("r.example:5000/a/b"), (Some("r.example:5000"), "a/b"));
        assert_eq!(split("docker.io/x"), (None, "x"));
    }

    #[test]
    fn the_next_page_is_on_the_same_registry() {
        assert_eq!(next("</v2/_catalog?last=b>; rel=\"next\"").unwrap(), "/v2/_catalog?last=b");
        assert_eq!(next("<http://elsewhere/x>; rel=\"next\""), None);
    }
}
