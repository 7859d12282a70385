//! Request bodies: JSON documents within a limit, archives as they come.

use crate::failure::Failure;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use engine::Error;
use futures_util::TryStreamExt;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio_util::io::StreamReader;

/// No document of the API comes near; archives are never buffered.
const DOCUMENT_LIMIT_BYTES: usize = 4 << 20;

/// A config's 16 MiB in base64, and room for its labels.
const LARGE_DOCUMENT_LIMIT_BYTES: usize = 24 << 20;

/// A JSON document that was declared as one. Not yet read: some are read as two types.
pub(crate) struct Document(Bytes);

impl Document {
    /// As `T`; an absent body is the zero value.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        types::json::from_slice(&self.0).map_err(|err| self.refuse(&err))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(u8::is_ascii_whitespace)
    }

    /// Go's words for what is wrong, since clients show them.
    fn refuse(&self, err: &serde_json::Error) -> Error {
        let text = err.to_string();
        match err.classify() {
            Category::Eof => Error::invalid("invalid JSON: unexpected EOF"),
            Category::Syntax if text.starts_with("trailing characters") => {
                Error::invalid("unexpected content after JSON")
            }
            Category::Syntax => match self.at(err.line(), err.column()) {
                Some(found) => Error::invalid(format!(
                    "invalid JSON: invalid character {found:?} {}",
                    Some(err)
                        .filter(|_| text.starts_with("expected ident"))
                        .and_then(|err| self.in_literal(err.line(), err.column()))
                        .unwrap_or_else(|| place(&text).to_owned())
                )),
                None => Error::invalid(format!("invalid JSON: {text}")),
            },
            Category::Data | Category::Io => Error::invalid(format!("invalid JSON: {text}")),
        }
    }

    /// Go's words when the character stands in a misspelled `null`, `true` or `false`.
    fn in_literal(&self, line: usize, column: usize) -> Option<String> {
        let line = self.0.split(|byte| *byte == b'\n').nth(line.checked_sub(1)?)?;
        let before = &line[..column.checked_sub(1)?];
        ["null", "true", "false"].into_iter().find_map(|word| {
            let right =
                (1..word.len()).rev().find(|count| before.ends_with(&word.as_bytes()[..*count]))?;
            let expected = char::from(word.as_bytes()[right]);
            Some(format!("in literal {word} (expecting {expected:?})"))
        })
    }

    /// The character at a 1-based line and column.
    fn at(&self, line: usize, column: usize) -> Option<char> {
        let line = self.0.split(|byte| *byte == b'\n').nth(line.checked_sub(1)?)?;
        line.get(column.checked_sub(1)?).map(|byte| char::from(*byte))
    }
}

/// Where Go would say that a character does not belong.
fn place(text: &str) -> &'static str {
    match text {
        _ if text.starts_with("key must be a string") || text.starts_with("trailing comma") => {
            "looking for beginning of object key string"
        }
        _ if text.starts_with("expected `,` or `}`") => "after object key:value pair",
        _ if text.starts_with("expected `,` or `]`") => "after array element",
        _ if text.starts_with("expected `:`") => "after object key",
        _ => "looking for beginning of value",
    }
}

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        collect(request, DOCUMENT_LIMIT_BYTES).await
    }
}

/// A document that carries a file's bytes.
pub(crate) struct LargeDocument(Document);

impl LargeDocument {
    /// As [`Document::read`].
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.0.read()
    }
}

impl<S: Send + Sync> FromRequest<S> for LargeDocument {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        collect(request, LARGE_DOCUMENT_LIMIT_BYTES).await.map(LargeDocument)
    }
}

async fn collect(request: Request, limit: usize) -> Result<Document, Failure> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, limit)
        .await
        .map_err(|err| Error::invalid(format!("failed to read the request body: {err}")))?;
    check_content_type(&parts.headers, body.is_empty())?;
    Ok(Document(body))
}

/// A body must say that it is JSON; without a body it need not say anything.
fn check_content_type(headers: &HeaderMap, empty: bool) -> Result<(), Error> {
    let declared =
        headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let declared = match declared {
        None | Some("") if empty => return Ok(()),
        declared => declared.unwrap_or_default(),
    };
    match declared.split(';').next().unwrap_or_default().trim() {
        "" => Err(Error::invalid(format!(
            "malformed Content-Type header ({declared}): mime: no media type"
        ))),
        media if media.eq_ignore_ascii_case("application/json") => Ok(()),
        _ => Err(Error::invalid(format!(
            "unsupported Content-Type header ({declared}): must be 'application/json'"
        ))),
    }
}

/// The body as a reader, for archives. Its rest is read even when nobody wants it any more (an archive's end comes before
/// that of the body): a client that still writes when the connection closes shows its own broken pipe instead of our answer.
pub(crate) fn reader(body: Body) -> engine::Body {
    let bytes = TryStreamExt::map_err(body.into_data_stream(), std::io::Error::other);
    let rest: engine::Body = Box::pin(StreamReader::new(bytes));
    Box::pin(ToTheEnd { rest: Some(rest), runtime: tokio::runtime::Handle::try_current().ok() })
}

struct ToTheEnd {
    rest: Option<engine::Body>,
    /// Readers end on threads of their own, too.
    runtime: Option<tokio::runtime::Handle>,
}

impl tokio::io::AsyncRead for ToTheEnd {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        match self.rest.as_mut() {
            Some(body) => body.as_mut().poll_read(context, buffer),
            None => std::task::Poll::Ready(Ok(())),
        }
    }
}

impl Drop for ToTheEnd {
    fn drop(&mut self) {
        let (Some(mut rest), Some(runtime)) = (self.rest.take(), self.runtime.take()) else {
            return;
        };
        // Ends with the body or with the connection, whichever comes first.
        runtime.spawn(async move { tokio::io::copy(&mut rest, &mut tokio::io::sink()).await });
    }
}

/// Reads a body to its end and forgets it, within the limit: for handlers that do not need it.
pub(crate) async fn discard(body: Body) {
    let mut body = http_body_util::Limited::new(body, DOCUMENT_LIMIT_BYTES);
    while let Some(Ok(_)) = body.frame().await {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::container::ExecConfig;

    fn error(text: &'static str) -> String {
        Document(Bytes::from_static(text.as_bytes())).read::<ExecConfig>().unwrap_err().to_string()
    }

    #[test]
    fn malformed_json_is_refused_in_gos_words() {
        assert_eq!(error(r#"{"Cmd":"#), "invalid JSON: unexpected EOF");
        assert_eq!(
            error("hello"),
            "invalid JSON: invalid character 'h' looking for beginning of value"
        );
        assert_eq!(
            error("nonsense"),
            "invalid JSON: invalid character 'o' in literal null (expecting 'u')"
        );
        assert_eq!(
            error(r#"{"Cmd":["a"],}"#),
            "invalid JSON: invalid character '}' looking for beginning of object key string"
        );
        assert_eq!(
            error(r#"{"Cmd" "a"}"#),
            "invalid JSON: invalid character '\"' after object key"
        );
        assert_eq!(error("{} {}"), "unexpected content after JSON");
    }

    #[test]
    fn a_body_must_be_declared_as_json() {
        let check = |declared: Option<&str>, empty| {
            let pairs = declared.map(|value| (header::CONTENT_TYPE, value.parse().unwrap()));
            check_content_type(&pairs.into_iter().collect(), empty).map_err(|err| err.to_string())
        };
        assert_eq!(check(None, true), Ok(()));
        assert_eq!(check(Some("application/json; charset=utf-8"), false), Ok(()));
        assert_eq!(
            check(Some("text/plain"), true),
            Err("unsupported Content-Type header (text/plain): must be 'application/json'".into())
        );
        assert_eq!(
            check(None, false),
            Err("malformed Content-Type header (): mime: no media type".into())
        );
    }
}
