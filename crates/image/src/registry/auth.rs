//! What a registry asks for before it serves us: basic credentials, or a token fetched from elsewhere.

use crate::Reference;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use types::image::AuthConfig;

/// A `WWW-Authenticate` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: String },
}

impl Challenge {
    /// The first challenge that we can meet.
    pub(crate) fn parse(header: &str) -> Option<Challenge> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameters = parameters(rest);
        let get = |key: &str| {
            let found = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        Some(Challenge::Bearer {
            realm: get("realm"),
            service: get("service"),
            scope: get("scope"),
        })
    }
}

/// `key="value",key=value`: commas inside quotes belong to the value.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((key.trim().to_owned(), value.to_owned()));
        rest = after.trim_start_matches([',', ' ']);
    }
    found
}

/// User and password, also out of the combined `auth` field. `None` when there are none.
pub(crate) fn credentials(auth: &AuthConfig) -> Option<(String, String)> {
    if !auth.username.is_empty() {
        return Some((auth.username.clone(), auth.password.clone()));
    }
    let decoded = STANDARD.decode(&auth.auth).ok().filter(|decoded| !decoded.is_empty())?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// The value of an `Authorization` header.
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// What we want to do, in the words of the token protocol.
pub(crate) fn scope(repository: &Reference, push: bool) -> String {
    let actions = if push { "pull,push" } else { "pull" };
    format!("repository:{}:{actions}", repository.path())
}

pub(crate) fn escape(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes()
        .map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// The form that trades a refresh token for an access token (OAuth2).
pub(crate) fn refresh_form(service: &str, scopes: &[String], refresh: &str) -> String {
    format!(
        "grant_type=refresh_token&client_id=sampan&service={}&scope={}&refresh_token={}",
        escape(service),
        escape(&scopes.join(" ")),
        escape(refresh)
    )
}

/// The path and query of a token request to `path`.
pub(crate) fn token_query(
    path: &str,
    service: &str,
    scopes: &[String],
    user: Option<&str>,
) -> String {
    let mut query = format!("{path}{}", if path.contains('?') { '&' } else { '?' });
    if let Some(user) = user {
        query += &format!("account={}&", escape(user));
    }
    if !service.is_empty() {
        query += &format!("service={}&", escape(service));
    }
    for scope in scopes {
        query += &format!("scope={}&", escape(scope));
    }
    query.trim_end_matches(['&', '?']).to_owned()
}

/// A token server's answer; either field carries it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Token {
    pub(crate) token: String,
    pub(crate) access_token: String,
}

impl Token {
    pub(crate) fn header(&self) -> String {
        let token = if self.token.is_empty() { &self.access_token } else { &self.token };
        format!("Bearer {token}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_commas_inside_quotes() {
        let header = r#"Bearer realm="https://auth.x/token",service="registry",scope="repository:a/b:pull,push""#;
        let want = Challenge::Bearer {
            realm: "https://auth.x/token".to_owned(),
            service: "registry".to_owned(),
            scope: "repository:a/b:pull,push".to_owned(),
        };
        assert_eq!(Challenge::parse(header), Some(want));
        assert_eq!(Challenge::parse("Basic realm=x"), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Negotiate"), None);
    }

    #[test]
    fn a_token_query_is_escaped() {
        let query = token_query("/token", "a b", &["repository:x:pull".to_owned()], Some("me"));
        assert_eq!(query, "/token?account=me&service=a%20b&scope=repository%3Ax%3Apull");
    }

    #[test]
    fn credentials_come_from_either_form() {
        let combined = AuthConfig { auth: STANDARD.encode("me:pa:ss"), ..AuthConfig::default() };
        assert_eq!(credentials(&combined), Some(("me".to_owned(), "pa:ss".to_owned())));
        assert_eq!(credentials(&AuthConfig::default()), None);
    }
}
