//! Requests that another node answers: Docker refuses cluster calls on a worker, we send them on to a manager.
//!
//! ```text
//! client ─► worker ─► manager (cluster's objects)      one hop: what was sent on is never sent on again
//!                └──► node (its containers' logs)
//! ```

use crate::context::{App, Context};
use crate::failure::Failure;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cluster::Target;
use http_body_util::BodyExt;

/// Lets a manager answer, and a worker send the request on.
pub(crate) async fn to_a_manager(
    State(app): State<App>,
    context: Context,
    request: Request,
    next: Next,
) -> Response {
    if context.forwarded || !app.cluster.is_worker() {
        return next.run(request).await;
    }
    send(&app, &context, Target::Manager, request).await.unwrap_or_else(IntoResponse::into_response)
}

/// Sends a request on as it came, its version included, and hands the answer back.
pub(crate) async fn send(
    app: &App,
    context: &Context,
    to: Target,
    mut request: Request,
) -> Result<Response, Failure> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = format!("/v{}{path}", context.version);
    *request.uri_mut() =
        path.parse().map_err(|_| engine::Error::invalid("the request's path is no path"))?;
    let (mut parts, body) = request.into_parts();
    // Extensions are this server's own; only the offer of the connection goes along.
    let offer = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    parts.extensions.clear();
    if let Some(offer) = offer {
        parts.extensions.insert(offer);
    }
    let body = body.map_err(Into::into).boxed_unsync();
    let answer = app.cluster.forward(to, Request::from_parts(parts, body)).await?;
    Ok(answer.map(Body::new))
}
