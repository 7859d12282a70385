//! `ADD https://…` and remote contexts: one GET into a file.

use super::output::Failure;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, Uri, header};
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

/// What came with the bytes.
#[derive(Debug, Default)]
pub(super) struct Downloaded {
    pub(super) content_type: String,
    /// The last part of the URL's path; empty when it has none.
    pub(super) name: String,
}

/// Writes what `url` answers to `to`. Follows redirects; any other answer than 200 is a failure.
pub(super) async fn download(url: &str, to: &Path) -> Result<Downloaded, Failure> {
    let failed = |why: String| Failure::new(format!("Get {url:?}: {why}"));
    let mut uri: Uri = url.parse().map_err(|err| failed(format!("{err}")))?;
    let name = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let reply = get(&uri).await.map_err(|err| failed(err.to_string()))?;
        let header = |name| reply.headers().get(name).and_then(|value| value.to_str().ok());
        if reply.status().is_redirection()
            && let Some(location) = header(header::LOCATION)
        {
            uri =
                redirected(&uri, location).ok_or_else(|| failed("invalid redirect".to_owned()))?;
            continue;
        }
        if reply.status() != hyper::StatusCode::OK {
            return Err(Failure::new(format!("{url} status: {}", reply.status())));
        }
        let content_type = header(header::CONTENT_TYPE).unwrap_or_default().to_owned();
        save(reply, to).await.map_err(|err| failed(err.to_string()))?;
        return Ok(Downloaded { content_type, name });
    }
    Err(failed(format!("stopped after {MAX_REDIRECTS} redirects")))
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
    let dial = TcpStream::connect((bare.as_str(), port));
    let stream = tokio::time::timeout(DIAL, dial).await.map_err(|_| io::ErrorKind::TimedOut)?;
    let stream =
        stream.map_err(|err| io::Error::other(format!("dial tcp {bare}:{port}: {err}")))?;
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
        let base = server(vec!["HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"]).await;
        let dir = tempfile::tempdir().unwrap();
        let failure = download(&base, &dir.path().join("file")).await.unwrap_err();
        assert_eq!(failure.message, format!("{base} status: 404 Not Found"));
    }
}
