//! `GET /events`: this node's and the cluster's.

use crate::context::{App, Context};
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use crate::version::ApiVersion;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use cluster::{Line, Target};
use engine::{Error, EventsOptions, Filters, event_matches};
use futures_util::{StreamExt, future, stream};
use http_body_util::{BodyExt, Empty};
use manager::control::Control;
use manager::control::event::event;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc::Sender;
use types::Timestamp;
use types::event::Event;

/// Events that wait for a slow client; then the follower waits, too.
const WAITING_EVENTS: usize = 256;
/// Past events of the cluster in one answer, the newest: nobody reads more.
const REPLAYED_EVENTS: usize = 100_000;
/// Before another manager is asked.
const RETRY: Duration = Duration::from_secs(1);

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

/// `GET /sampan/events`: the cluster's alone, for nodes that are no managers.
pub(crate) async fn of_the_cluster(
    State(app): State<App>,
    context: Context,
    query: Query,
) -> Reply {
    app.cluster.control()?;
    let (since, until) = (query.timestamp("since")?, query.timestamp("until")?);
    let options = EventsOptions { since, until, filters: query.filters()? };
    let (told, events) = tokio::sync::mpsc::channel(WAITING_EVENTS);
    app.tasks.spawn(follow(app.clone(), options, told));
    let events = stream::unfold(events, async |mut events| Some((events.recv().await?, events)));
    Ok(reply::live_json(context, events))
}

/// Tells the cluster's events: those of the past month that are asked for, then those that come. A manager reads its
/// own, a worker has a manager tell them.
async fn follow(app: App, options: EventsOptions, told: Sender<Event>) {
    match app.cluster.control() {
        Ok(control) => follow_here(app, control, options, told).await,
        Err(_) if app.cluster.is_worker() => follow_a_manager(app, options, told).await,
        Err(_) => {}
    }
}

async fn follow_here(app: App, control: Control, options: EventsOptions, told: Sender<Event>) {
    let mut changes = control.changes();
    let wanted = |event: &Event| {
        let in_time = options.since.is_none_or(|since| event.time_nano >= since.0)
            && options.until.is_none_or(|until| event.time_nano <= until.0);
        in_time && event_matches(&options.filters, event)
    };
    let mut seen = control.snapshot().version();
    if let Some(since) = options.since {
        // What is remembered here but not written down yet comes after it.
        seen = control.oldest();
        for Line { version, event } in past(&app, since, &options.filters).await {
            seen = seen.max(version);
            if wanted(&event) && told.send(event).await.is_err() {
                return;
            }
        }
    }
    let over = end(options.until);
    tokio::pin!(over);
    loop {
        changes.borrow_and_update();
        let state = control.snapshot();
        let now: Timestamp = SystemTime::now().into();
        for change in control.changed_since(seen).unwrap_or_default() {
            seen = seen.max(change.version);
            let Some(event) = event(&state, &change, now) else { continue };
            if wanted(&event) && told.send(event).await.is_err() {
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

/// What this manager wrote down. A disk that cannot be read costs the past alone.
async fn past(app: &App, since: Timestamp, filters: &Filters) -> Vec<Line> {
    let Ok(history) = app.cluster.history() else { return Vec::new() };
    let filters = filters.clone();
    let read = move || history.read(since, REPLAYED_EVENTS, |event| event_matches(&filters, event));
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(lines)) => lines,
        Ok(Err(err)) => {
            tracing::warn!("past events cannot be read: {err}");
            Vec::new()
        }
        Err(err) => {
            tracing::warn!("past events cannot be read: {err}");
            Vec::new()
        }
    }
}

/// A manager's answer ends with `until`, or with that manager: another goes on from the last event.
async fn follow_a_manager(app: App, mut options: EventsOptions, told: Sender<Event>) {
    let over = |until: Option<Timestamp>| {
        let now: Timestamp = SystemTime::now().into();
        until.is_some_and(|until| until <= now)
    };
    loop {
        tokio::select! {
            () = relay(&app, &mut options, &told) => {}
            () = told.closed() => return,
            () = app.stop.cancelled() => return,
        }
        if over(options.until) || !app.cluster.is_worker() {
            return;
        }
        tokio::time::sleep(RETRY).await;
        options.since.get_or_insert(SystemTime::now().into());
    }
}

async fn relay(app: &App, options: &mut EventsOptions, told: &Sender<Event>) {
    let Some(request) = question(options) else { return };
    let Ok(answer) = app.cluster.forward(Target::Manager, request).await else { return };
    if !answer.status().is_success() {
        return;
    }
    let mut body = answer.into_body().into_data_stream();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(Ok(bytes)) = body.next().await {
        rest.extend_from_slice(&bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let Ok(event) = serde_json::from_slice::<Event>(&line) else { continue };
            options.since = Some(Timestamp(event.time_nano.saturating_add(1)));
            if told.send(event).await.is_err() {
                return;
            }
        }
    }
}

fn question(options: &EventsOptions) -> Option<http::Request<cluster::Body>> {
    let seconds = |at: Timestamp| {
        format!("{}.{:09}", at.0.div_euclid(1_000_000_000), at.0.rem_euclid(1_000_000_000))
    };
    let mut path = format!("/v{}/sampan/events?", ApiVersion::MAX);
    for (name, at) in [("since", options.since), ("until", options.until)] {
        if let Some(at) = at {
            path.push_str(&format!("{name}={}&", seconds(at)));
        }
    }
    path.push_str(&format!("filters={}", crate::path::encode(&options.filters.to_json())));
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    http::Request::get(path).body(body).ok()
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
