//! What this node answers to others about its images.

use super::PATH;
use super::growing::Growing;
use super::offer::offer;
use super::partial::Partial;
use super::pieces::{Pieces, count, span};
use crate::layer::layout::Layout;
use crate::store::{Inner, blocking};
use crate::stream::ByteStream;
use crate::{Digest, Error, Reference, Result, Store};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{Method, Response, StatusCode};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// Bytes that are read at once for an answer.
const READ: u64 = 256 * 1024;
/// Layers of our own that are kept laid out: those that somebody asked for last.
const LAID_OUT: usize = 16;

/// The answer to `have`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Have {
    size: u64,
    /// Which pieces, in hexadecimal; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pieces: Option<String>,
    /// More comes from a registry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) grows: bool,
}

impl Have {
    /// `None` when it is not about `size` bytes.
    pub(crate) fn pieces(&self, size: u64) -> Option<Pieces> {
        if self.size != size {
            return None;
        }
        match &self.pieces {
            None => Some(Pieces::all(count(size))),
            Some(hex) => Pieces::from_hex(hex, count(size)),
        }
    }
}

type Laid = Arc<OnceCell<Arc<Layout>>>;

/// Layouts of layers, in the order of their last use. They keep no layer: whoever reads one that goes sees an error.
#[derive(Default)]
pub(crate) struct Layouts(Mutex<Vec<(Digest, Laid)>>);

impl Layouts {
    fn cell(&self, chain: &Digest) -> Laid {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = match all.iter().position(|(known, _)| known == chain) {
            Some(at) => all.remove(at).1,
            None => Arc::default(),
        };
        if all.len() >= LAID_OUT {
            all.remove(0);
        }
        all.push((chain.clone(), cell.clone()));
        cell
    }

    /// Forgets layers that are removed.
    pub(crate) fn forget(&self, gone: &[Digest]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(chain, _)| !gone.contains(chain));
    }
}

/// A blob by place.
#[derive(Clone)]
pub(crate) enum Source {
    File(Arc<File>, u64),
    Laid(Arc<Layout>),
    Partial(Arc<Partial>),
    Growing(Arc<Growing>),
}

impl Source {
    /// Whether it is more than what has come so far.
    pub(crate) fn is_whole(&self) -> bool {
        !matches!(self, Source::Partial(_) | Source::Growing(_))
    }
    pub(crate) fn size(&self) -> u64 {
        match self {
            Source::File(_, size) => *size,
            Source::Laid(laid) => laid.size(),
            Source::Partial(partial) => partial.size,
            Source::Growing(growing) => growing.size,
        }
    }
    fn have(&self) -> Have {
        let pieces = match self {
            Source::File(..) | Source::Laid(_) => None,
            Source::Partial(partial) => Some(partial.have().to_hex()),
            Source::Growing(growing) => Some(growing.have().to_hex()),
        };
        let grows = matches!(self, Source::Growing(_));
        Have { size: self.size(), pieces, grows }
    }
    fn has(&self, piece: u32) -> bool {
        match self {
            Source::File(..) | Source::Laid(_) => piece < count(self.size()),
            Source::Partial(partial) => partial.has(piece),
            Source::Growing(growing) => growing.have().has(piece),
        }
    }
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        match self {
            Source::File(file, _) => file.read_at(buffer, at),
            Source::Laid(laid) => laid.read_at(buffer, at),
            Source::Partial(partial) => partial.read_at(buffer, at),
            Source::Growing(growing) => growing.read_at(buffer, at),
        }
    }
}

impl Store {
    /// Answers a question of another node; `path` begins with [`PATH`].
    pub async fn answer(&self, method: &Method, path: &str) -> Response<ByteStream> {
        let question = path.strip_prefix(PATH).unwrap_or_default();
        let is_wish = question.starts_with("take?");
        if *method != (if is_wish { Method::POST } else { Method::GET }) {
            return empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        let answered = match question.split_once(['/', '?']) {
            Some(("take", query)) => self.answer_take(query).await,
            Some(("offer", query)) => self.answer_offer(query).await,
            Some(("tags", query)) => Ok(self.answer_tags(query)),
            Some(("have", digest)) => self.answer_have(digest).await,
            Some(("piece", rest)) => self.answer_piece(rest).await,
            _ => Ok(None),
        };
        match answered {
            Ok(Some(answer)) => answer,
            Ok(None) => empty(StatusCode::NOT_FOUND),
            Err(err) => {
                tracing::warn!(
                    question,
                    error = errdefs::chain(&err),
                    "another node gets no answer"
                );
                empty(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    async fn answer_offer(&self, query: &str) -> Result<Option<Response<ByteStream>>> {
        let Some(name) = query.strip_prefix("name=") else { return Ok(None) };
        let (inner, name) = (self.0.clone(), name.to_owned());
        let offer = blocking(move || offer(&inner, &name)).await?;
        Ok(offer.and_then(|offer| document(&offer)))
    }

    async fn answer_take(&self, query: &str) -> Result<Option<Response<ByteStream>>> {
        let wanted = query.strip_prefix("name=").and_then(|rest| rest.split_once("&id="));
        let Some((name, id)) = wanted else { return Ok(None) };
        let (id, pushed) = match id.split_once("&manifest=") {
            Some((id, pushed)) => (id, Digest::parse(pushed)),
            None => (id, None),
        };
        let took = self.take_copy(name, id, pushed).await?;
        Ok(took.then(|| empty(StatusCode::OK)))
    }

    fn answer_tags(&self, query: &str) -> Option<Response<ByteStream>> {
        let repository = Reference::parse(query.strip_prefix("name=")?).ok()?;
        document(&self.hosted_tags(&repository))
    }

    async fn answer_have(&self, digest: &str) -> Result<Option<Response<ByteStream>>> {
        let Some(digest) = Digest::parse(digest) else { return Ok(None) };
        Ok(self.source(&digest).await?.and_then(|source| document(&source.have())))
    }

    async fn answer_piece(&self, rest: &str) -> Result<Option<Response<ByteStream>>> {
        let wanted = rest
            .split_once('/')
            .and_then(|(digest, piece)| Some((Digest::parse(digest)?, piece.parse::<u32>().ok()?)));
        let Some((digest, piece)) = wanted else { return Ok(None) };
        let source = self.source(&digest).await?.filter(|source| source.has(piece));
        Ok(source.map(|source| {
            let (at, bytes) = span(piece, source.size());
            let mut answer = Response::new(streamed(source, at, bytes));
            answer.headers_mut().insert(http::header::CONTENT_LENGTH, bytes.into());
            answer
        }))
    }

    /// Where the bytes of `digest` are here: a blob, a layer of our own by its diff id, or what is being fetched.
    pub(crate) async fn source(&self, digest: &Digest) -> Result<Option<Source>> {
        let path = self.0.blob_path(digest);
        let opened = blocking(move || {
            let file = File::open(&path)?;
            let size = file.metadata()?.len();
            Ok::<_, io::Error>(Source::File(Arc::new(file), size))
        });
        match opened.await {
            Ok(source) => return Ok(Some(source)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(Error::io("open", &self.0.blob_path(digest))(err)),
        }
        let own = {
            let index = self.0.index();
            let mut layers = index.layers.values();
            layers.find(|layer| layer.blob.is_none() && layer.diff_id == *digest).cloned()
        };
        if let Some(layer) = own {
            return self.laid(&layer.chain).await.map(|laid| Some(Source::Laid(laid)));
        }
        let neighbours = &self.0.neighbours;
        let partial = neighbours.partials.get(digest).map(Source::Partial);
        Ok(partial.or_else(|| neighbours.growings.get(digest).map(Source::Growing)))
    }

    async fn laid(&self, chain: &Digest) -> Result<Arc<Layout>> {
        let cell = self.0.neighbours.layouts.cell(chain);
        let laid = cell.get_or_try_init(|| {
            let (inner, chain) = (self.0.clone(), chain.clone());
            blocking(move || lay_out(&inner, &chain).map(Arc::new))
        });
        laid.await.cloned()
    }
}

fn lay_out(inner: &Inner, chain: &Digest) -> Result<Layout> {
    let dir = inner.layer_dir(chain);
    Layout::of(&dir, &inner.tmp()).map_err(Error::io("read the layer", &dir))
}

/// `bytes` from `at` on, read as they are wanted.
pub(crate) fn streamed(source: Source, at: u64, bytes: u64) -> ByteStream {
    let end = at + bytes;
    Box::pin(stream::try_unfold((source, at), move |(source, at)| async move {
        if at >= end {
            return Ok(None);
        }
        blocking(move || {
            let wanted = usize::try_from(READ.min(end - at)).unwrap_or(0);
            let mut chunk = BytesMut::zeroed(wanted);
            let n = source.read_at(&mut chunk, at)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            chunk.truncate(n);
            Ok(Some((chunk.freeze(), (source, at + n as u64))))
        })
        .await
    }))
}

fn empty(status: StatusCode) -> Response<ByteStream> {
    let nothing: ByteStream = Box::pin(stream::empty());
    let mut answer = Response::new(nothing);
    *answer.status_mut() = status;
    answer
}

fn document(of: &impl Serialize) -> Option<Response<ByteStream>> {
    let bytes = serde_json::to_vec(of).ok()?;
    let whole: ByteStream = Box::pin(stream::iter([Ok(Bytes::from(bytes))]));
    Some(Response::new(whole))
}
