//! One blob from a registry into the store: resumed where a cut left it, verified, never twice at once.

use super::client::{ATTEMPTS, Client, back_off, empty};
use super::error::{Cause, RegistryError};
use super::manifest::Descriptor;
use crate::digest::Hasher;
use crate::store::{Inner, blocking};
use crate::{Error, Result};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

/// Fetches `blob`, unless it is there. `tell` hears the bytes so far.
pub(crate) async fn download(
    store: &Arc<Inner>,
    client: &Client,
    blob: &Descriptor,
    tell: impl Fn(u64),
) -> Result<()> {
    let _turn = store.flights.enter(&blob.digest).await;
    if store.has_blob(&blob.digest) {
        return Ok(());
    }
    let mut partial = open_partial(store, blob).await?;
    let mut attempt = 1;
    loop {
        let before = partial.hasher.bytes();
        let (result, state) = fetch(client, blob, partial, &tell).await;
        partial = state;
        match result {
            Ok(()) => break,
            Err(err) if err.is_transient() => {
                // Progress earns new attempts: only a registry that gives nothing ends the pull.
                attempt = if partial.hasher.bytes() > before { 1 } else { attempt + 1 };
                if attempt > ATTEMPTS {
                    return Err(err.into());
                }
                tracing::debug!(digest = %blob.digest, error = errdefs::chain(&err), "download is resumed");
                tokio::time::sleep(back_off(attempt)).await;
            }
            Err(err) => {
                if matches!(err, RegistryError::Disk { .. }) {
                    // A full disk gets its space back at once.
                    crate::store::durable::remove(&store.ingest_path(&blob.digest))?;
                }
                return Err(err.into());
            }
        }
    }
    let (inner, digest) = (store.clone(), blob.digest.clone());
    blocking(move || inner.finish_ingest(&digest, partial.hasher)).await
}

/// What is there of a blob.
struct Partial {
    file: File,
    hasher: Hasher,
}

async fn open_partial(store: &Arc<Inner>, blob: &Descriptor) -> Result<Partial> {
    let path = store.ingest_path(&blob.digest);
    let size = blob.size;
    blocking(move || {
        let open = || -> io::Result<Partial> {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            let mut hasher = Hasher::default();
            if file.metadata()?.len() > size {
                file.set_len(0)?;
            }
            let mut buffer = vec![0; 128 * 1024];
            loop {
                let n = file.read(&mut buffer)?;
                if n == 0 {
                    return Ok(Partial { file, hasher });
                }
                hasher.update(&buffer[..n]);
            }
        };
        open().map_err(Error::io("open", &path))
    })
    .await
}

/// One connection's worth. The state comes back whatever happens.
async fn fetch(
    client: &Client,
    blob: &Descriptor,
    mut partial: Partial,
    tell: &impl Fn(u64),
) -> (Result<(), RegistryError>, Partial) {
    let have = partial.hasher.bytes();
    if have == blob.size {
        return (Ok(()), partial);
    }
    let mut headers = HeaderMap::new();
    if have > 0
        && let Ok(range) = format!("bytes={have}-").parse()
    {
        headers.insert(header::RANGE, range);
    }
    let path = client.path(&format!("blobs/{}", blob.digest));
    let reply = match client.request(Method::GET, &path, headers, empty).await {
        Ok(reply) => reply,
        Err(err) => return (Err(err), partial),
    };
    match reply.status() {
        StatusCode::PARTIAL_CONTENT => {}
        // The whole blob, from a registry that knows no ranges.
        StatusCode::OK if have == 0 => {}
        StatusCode::OK => match restart(&mut partial) {
            Ok(()) => {}
            Err(cause) => return (Err(disk(cause)), partial),
        },
        status => {
            let err = client.refusal(status, reply, "").await;
            return (Err(err), partial);
        }
    }
    let mut body = reply.into_body();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(err) => {
                let cause = Cause::Exchange(err);
                return (Err(RegistryError::Request { method: "Get", url: path, cause }), partial);
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        // Short writes into the page cache: not worth a thread hop for each chunk.
        if let Err(cause) = partial.file.write_all(&data) {
            return (Err(disk(cause)), partial);
        }
        partial.hasher.update(&data);
        tell(partial.hasher.bytes());
        if partial.hasher.bytes() > blob.size {
            break; // more than announced: the digest will tell
        }
    }
    let done = partial.hasher.bytes() >= blob.size;
    let cut = || RegistryError::Status {
        status: StatusCode::BAD_GATEWAY,
        detail: ": unexpected EOF".to_owned(),
    };
    (if done { Ok(()) } else { Err(cut()) }, partial)
}

fn restart(partial: &mut Partial) -> io::Result<()> {
    partial.file.seek(SeekFrom::Start(0))?;
    partial.file.set_len(0)?;
    partial.hasher = Hasher::default();
    Ok(())
}

fn disk(cause: io::Error) -> RegistryError {
    RegistryError::Disk { action: "write a layer", cause }
}
