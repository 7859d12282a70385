//! `/sampan/spread`: copies of an image on other nodes. Nothing of it is Docker's.

use crate::context::{App, Context};
use crate::failure::Reply;
use crate::progress;
use crate::query::Query;
use axum::Router;
use axum::extract::State;
use axum::routing::post;

/// On so many nodes in all, unless told otherwise: losing two loses nothing.
const COPIES: usize = 3;

pub(crate) fn routes() -> Router<App> {
    Router::new().route("/sampan/spread", post(spread))
}

async fn spread(State(app): State<App>, context: Context, query: Query) -> Reply {
    let copies = query.number::<usize>("copies")?.unwrap_or(COPIES);
    let (engine, name) = (app.engine.clone(), query.get("name").to_owned());
    progress::reply(context, async move |sender| engine.image_spread(&name, copies, sender).await)
        .await
}
