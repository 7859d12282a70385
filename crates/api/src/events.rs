//! `GET /events`: this node's, and on a manager the cluster's.

use crate::context::{App, Context};
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use crate::version::ApiVersion;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use engine::{Error, EventsOptions, event_matches};
use futures_util::{StreamExt, future, stream};
use manager::control::event::event;
use std::time::SystemTime;
use tokio::sync::mpsc::Sender;
use types::Timestamp;
use types::event::Event;

/// Events that wait for a slow client; then the follower waits, too.
const WAITING_EVENTS: usize = 256;

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
    let options = EventsOptions { since, until, filters: query.filters()? };
    let events = app.engine.events(options.clone())?;
    let events = stream::unfold(events, async |mut events| Some((events.recv().await?, events)));
    // Both end when `until` is over; without it, when the client goes.
    let (told, others) = tokio::sync::mpsc::channel(WAITING_EVENTS);
    app.tasks.spawn(follow(app.clone(), options, told));
    let others = stream::unfold(others, async |mut others| Some((others.recv().await?, others)));
    let events = stream::select(events, others);
    // Clients before 1.46 do not know that images are created.
    let old = context.version < ApiVersion(1, 46);
    let known = events.filter(move |event| {
        future::ready(!(old && event.kind == "image" && event.action == "create"))
    });
    Ok(reply::live_json(context, known))
}

/// Tells the cluster's events: past ones that this manager remembers, then those that come. Starts and ends with this
/// node's part as a manager.
async fn follow(app: App, options: EventsOptions, told: Sender<Event>) {
    let Ok(control) = app.cluster.control() else { return };
    let mut changes = control.changes();
    let mut seen = match options.since {
        Some(_) => control.oldest(),
        None => control.snapshot().version(),
    };
    let over = end(options.until);
    tokio::pin!(over);
    loop {
        changes.borrow_and_update();
        let state = control.snapshot();
        let now: Timestamp = SystemTime::now().into();
        for change in control.changed_since(seen).unwrap_or_default() {
            seen = seen.max(change.version);
            let Some(event) = event(&state, &change, now) else { continue };
            let in_time = options.since.is_none_or(|since| event.time_nano >= since.0)
                && options.until.is_none_or(|until| event.time_nano <= until.0);
            if in_time && event_matches(&options.filters, &event) && told.send(event).await.is_err()
            {
                return;
            }
        }
        seen = seen.max(state.version());
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = told.closed() => return,
            () = app.stop.cancelled() => return,
            () = &mut over => return,
        }
    }
}

async fn end(until: Option<Timestamp>) {
    match until {
        Some(until) => {
            let now: Timestamp = SystemTime::now().into();
            tokio::time::sleep(until.since(now)).await;
        }
        None => std::future::pending().await,
    }
}
