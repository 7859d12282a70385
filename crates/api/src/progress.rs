//! Long work that tells how far it is: JSON lines, with the failure as the last one.

use crate::context::Context;
use crate::failure::Reply;
use crate::reply;
use axum::response::{IntoResponse, Response};
use engine::Result;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use types::image::Progress;

/// Messages that wait for a slow client; then the work waits.
const QUEUE: usize = 64;

/// The work's task: dropping it, as the reply does when its client leaves, cancels the work.
type Work = AbortOnDropHandle<Result<()>>;

/// Answers with the work's messages. What fails before the first of them is an ordinary failed reply.
pub(crate) async fn reply<W, F>(context: Context, work: W) -> Reply
where
    W: FnOnce(mpsc::Sender<Progress>) -> F,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (mut messages, work) = start(work);
    match messages.recv().await {
        Some(first) => {
            let all = stream::once(async { first }).chain(lines(messages, work));
            Ok(reply::live_json(context, all))
        }
        None => {
            ended(work).await?;
            Ok(([(axum::http::header::CONTENT_TYPE, reply::JSON)], "").into_response())
        }
    }
}

/// As [`reply`], but the head leaves at once and every failure is in the stream. `quiet` leaves out how
/// far the work is.
pub(crate) fn stream<W, F>(context: Context, quiet: bool, work: W) -> Response
where
    W: FnOnce(mpsc::Sender<Progress>) -> F,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (messages, work) = start(work);
    let wanted =
        move |message: &Progress| std::future::ready(!quiet || message.progress_detail.is_none());
    reply::live_json(context, lines(messages, work).filter(wanted))
}

fn start<W, F>(work: W) -> (mpsc::Receiver<Progress>, Work)
where
    W: FnOnce(mpsc::Sender<Progress>) -> F,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (sender, messages) = mpsc::channel(QUEUE);
    (messages, AbortOnDropHandle::new(tokio::spawn(work(sender))))
}

async fn ended(work: Work) -> Result<()> {
    match work.await {
        Ok(ended) => ended,
        Err(err) => Err(engine::Error::system(format!("internal error: {err}"))),
    }
}

/// Every message, then the failure, if there is one.
fn lines(messages: mpsc::Receiver<Progress>, work: Work) -> impl Stream<Item = Progress> + Send {
    let messages =
        stream::unfold(messages, async |mut messages| Some((messages.recv().await?, messages)));
    let failure = stream::once(ended(work)).filter_map(async |ended| {
        let err = ended.err()?;
        Some(Progress::error(errdefs::chain(&err)))
    });
    messages.chain(failure)
}
