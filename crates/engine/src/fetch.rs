//! One GET: `ADD https://…`, remote contexts, `import` of a URL.

use crate::{Error, Result};
use errdefs::ErrorKind;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// As Go's client has it.
const MAX_REDIRECTS: usize = 10;
const DIAL: Duration = Duration::from_secs(30);
/// Of what a server says of a refusal; more is not shown.
const REFUSAL_BYTES: usize = 4096;

/// What came with the bytes.
#[derive(Debug, Default)]
pub(crate) struct Downloaded {
    pub(crate) content_type: String,
    /// The last part of the URL's path; empty when it has none.
    pub(crate) name: String,
}

/// Writes what `url` answers to `to`.
pub(crate) async fn download(url: &str, to: &Path) -> Result<Downloaded> {
    let reply = open(url).await?;
    let content_type = reply.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.to_owned();
    save(reply, to).await.map_err(|err| failed(url, err))?;
    let path = url.parse::<Uri>().map(|uri| uri.path().to_owned()).unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    Ok(Downloaded { content_type, name })
}

/// The reply of `url`, with its body still to come. Follows redirects; a refusal has the class of its status.
pub(crate) async fn open(url: &str) -> Result<Response<Incoming>> {
    let mut uri: Uri = url.parse().map_err(|_| failed(url, "http: no Host in request URL"))?;
    for _ in 0..=MAX_REDIRECTS {
        let reply = get(&uri).await.map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => failed(url, err).with_kind(ErrorKind::NotFound),
            _ => failed(url, err),
        })?;
        let location = reply.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        if let Some(location) = location.filter(|_| reply.status().is_redirection()) {
            uri = redirected(&uri, location).ok_or_else(|| failed(url, "invalid redirect"))?;
            continue;
        }
        let status = reply.status();
        if status.as_u16() < 400 {
            return Ok(reply);
        }
        let said = Limited::new(reply.into_body(), REFUSAL_BYTES).collect().await;
        let said = said.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned());
        let said = said.unwrap_or_else(|_| "error reading body".to_owned());
        let refused = Error::system(format!("failed to GET {url} with status {status}: {said}"));
        return Err(refused.with_kind(match status {
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            StatusCode::BAD_REQUEST => ErrorKind::InvalidParameter,
            StatusCode::UNAUTHORIZED => ErrorKind::Unauthorized,
            StatusCode::FORBIDDEN => ErrorKind::Forbidden,
            _ => ErrorKind::System,
        }));
    }
    Err(failed(url, format!("stopped after {MAX_REDIRECTS} redirects")))
}

fn failed(url: &str, why: impl std::fmt::Display) -> Error {
    Error::system(format!("Get {url:?}: {why}"))
}

/// The C library's words, as Go writes them.
fn reason(code: i32) -> String {
    nix::errno::Errno::from_raw(code).desc().to_ascii_lowercase()
}

fn redirected(from: &Uri, location: &str) -> Option<Uri> {
    if location.starts_with('/') {
        let (scheme, authority) = (from.scheme_str()?, from.authority()?);
        return format!("{scheme}://{authority}{location}").parse().ok();
    }
    location.parse().ok().filter(|uri: &Uri| uri.host().is_some())
}

async fn save(reply: Response<Incoming>, to: &Path) -> io::Result<()> {
    let mut body = reply.into_body();
    let mut file = tokio::fs::File::create(to).await?;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
            file.write_all(&data).await?;
        }
    }
    file.flush().await
}

async fn get(uri: &Uri) -> io::Result<Response<Incoming>> {
    let host = uri.host().ok_or_else(|| io::Error::other("no host in the URL"))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let found = tokio::net::lookup_host((bare.as_str(), port)).await.map_err(|_| {
        let unknown = format!("dial tcp: lookup {bare}: no such host");
        io::Error::new(io::ErrorKind::NotFound, unknown)
    })?;
    let found: Vec<_> = found.collect();
    let dial = TcpStream::connect(found.as_slice());
    let stream = tokio::time::timeout(DIAL, dial).await.map_err(|_| io::ErrorKind::TimedOut)?;
    let stream = stream.map_err(|err| {
        let why = err.raw_os_error().map_or_else(|| err.to_string(), reason);
        io::Error::other(format!("dial tcp {bare}:{port}: connect: {why}"))
    })?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, uri.authority().map_or(host, |authority| authority.as_str()))
        .header(header::USER_AGENT, "sampan")
        .body(Empty::new())
        .map_err(io::Error::other)?;
    if !secure {
        return exchange(stream, request).await;
    }
    let name = rustls::pki_types::ServerName::try_from(bare).map_err(io::Error::other)?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls()?));
    exchange(connector.connect(name, stream).await?, request).await
}

fn tls() -> io::Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

async fn exchange<S>(
    stream: S,
    request: Request<Empty<bytes::Bytes>>,
) -> io::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(io::Error::other)?;
    // Ends by itself when the reply's body is read or dropped, since `sender` goes with this function.
    tokio::spawn(async move {
        if let Err(err) = connection.await {
            tracing::debug!(error = %err, "download connection ended");
        }
    });
    sender.send_request(request).await.map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// Answers each connection with the next of `replies`.
    async fn server(replies: Vec<&'static str>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for reply in replies {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let _head = stream.read(&mut request).await.unwrap();
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn redirects_are_followed_to_the_file() {
        let base = server(vec![
            "HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\ntext",
        ])
        .await;
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("file");
        let downloaded = download(&format!("{base}/dir/a.txt?x=1"), &to).await.unwrap();
        assert_eq!(
            (downloaded.name.as_str(), downloaded.content_type.as_str()),
            ("a.txt", "text/plain")
        );
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "text");
    }

    #[tokio::test]
    async fn another_answer_is_a_failure() {
        let base =
            server(vec!["HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nnot here\n"]).await;
        let dir = tempfile::tempdir().unwrap();
        let failure = download(&base, &dir.path().join("file")).await.unwrap_err();
        assert_eq!(errdefs::Classify::kind(&failure), ErrorKind::NotFound);
        let told = format!("failed to GET {base} with status 404 Not Found: not here");
        assert_eq!(failure.to_string(), told);
    }
}
