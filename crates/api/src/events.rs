//! `GET /events`.

use crate::context::{App, Context};
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use crate::version::ApiVersion;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use engine::{Error, EventsOptions};
use futures_util::{StreamExt, future, stream};

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/events", get(events))
}

async fn events(State(app): State<App>, context: Context, query: Query) -> Reply {
    let (since, until) = (query.timestamp("since")?, query.timestamp("until")?);
    if let (Some(from), Some(to)) = (since, until)
        && to < from
    {
        return Err(Error::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            query.get("since"),
            query.get("until")
        ))
        .into());
    }
    let events = app.engine.events(EventsOptions { since, until, filters: query.filters()? })?;
    let events = stream::unfold(events, async |mut events| Some((events.recv().await?, events)));
    // Clients before 1.46 do not know that images are created.
    let old = context.version < ApiVersion(1, 46);
    let known = events.filter(move |event| {
        future::ready(!(old && event.kind == "image" && event.action == "create"))
    });
    Ok(reply::live_json(context, known))
}
