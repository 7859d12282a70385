//! `/images/…`.

use crate::context::{App, Context};
use crate::failure::Reply;
use crate::query::Query;
use crate::version::ApiVersion;
use crate::{body, progress, reply};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use engine::{Error, ImageListOptions, ImportRequest, ImportSource, PullRequest};
use serde::de::DeserializeOwned;
use types::image::{AuthConfig, Summary};

/// Clients write base64url, with or without padding.
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/images/json", get(list))
        .route("/images/create", post(create))
        .route("/images/load", post(load))
        .route("/images/prune", post(prune))
        .route("/images/search", get(search))
        .route("/images/get", get(save_several))
        .route("/images/{name}", delete(remove))
        .route("/images/{name}/get", get(save))
        .route("/images/{name}/json", get(inspect))
        .route("/images/{name}/history", get(history))
        .route("/images/{name}/push", post(push))
        .route("/images/{name}/tag", post(tag))
}

/// `X-Registry-Auth`; what cannot be read is no credentials, as with dockerd.
pub(crate) fn registry_auth(headers: &HeaderMap) -> AuthConfig {
    header_json(headers, "X-Registry-Auth").unwrap_or_default()
}

/// A header that holds JSON as base64url.
pub(crate) fn header_json<T: DeserializeOwned>(headers: &HeaderMap, name: &str) -> Option<T> {
    let text = headers.get(name)?.to_str().ok()?;
    let json = URL_SAFE.decode(text.trim().replace('+', "-").replace('/', "_")).ok()?;
    types::json::from_slice(&json).ok()
}

async fn list(State(app): State<App>, context: Context, query: Query) -> Reply {
    let mut filters = query.filters()?;
    if let Some(pattern) = query.text("filter").filter(|_| context.version < ApiVersion(1, 41)) {
        filters.add("reference", &pattern);
    }
    let shared_size = query.flag("shared-size") && context.version >= ApiVersion(1, 42);
    let options = ImageListOptions { all: query.flag("all"), shared_size, filters };
    let mut images = app.engine.image_list(&options)?;
    images.iter_mut().for_each(|image| age(image, context.version));
    reply::json(&images)
}

/// What clients of `version` expect of an image in a list.
fn age(image: &mut Summary, version: ApiVersion) {
    if version < ApiVersion(1, 43) && image.repo_tags.is_empty() && image.repo_digests.is_empty() {
        image.repo_tags.push("<none>:<none>".to_owned());
        image.repo_digests.push("<none>@<none>".to_owned());
    }
    if version < ApiVersion(1, 44) {
        image.virtual_size = Some(image.size);
    }
}

/// Pull, or import.
async fn create(
    State(app): State<App>,
    context: Context,
    query: Query,
    headers: HeaderMap,
    tar: Body,
) -> Reply {
    let platform =
        query.text("platform").filter(|_| context.version >= ApiVersion(1, 32)).unwrap_or_default();
    if let Some(image) = query.text("fromImage") {
        body::discard(tar).await;
        let request = PullRequest {
            image: image.trim_end_matches(':').to_owned(),
            tag: query.get("tag").to_owned(),
            platform,
            auth: registry_auth(&headers),
        };
        let engine = app.engine.clone();
        return progress::reply(context, async move |sender| {
            engine.image_pull(request, sender).await
        })
        .await;
    }
    let source = query.get("fromSrc");
    let message = query.text("message").unwrap_or_else(|| format!("Imported from {source}"));
    let request = ImportRequest {
        repo: query.get("repo").to_owned(),
        tag: query.get("tag").to_owned(),
        message,
        changes: query.all("changes"),
        platform,
    };
    let engine = app.engine.clone();
    let source = if source == "-" {
        ImportSource::Body(body::reader(tar))
    } else {
        body::discard(tar).await;
        ImportSource::Url(source.to_owned())
    };
    progress::reply(context, async move |sender| engine.image_import(request, source, sender).await)
        .await
}

async fn load(State(app): State<App>, context: Context, query: Query, archive: Body) -> Reply {
    let engine = app.engine.clone();
    let archive = body::reader(archive);
    let platform = query.text("platform").filter(|_| context.version >= ApiVersion(1, 48));
    let platform = platform.map(|text| engine::read_platform(&text)).transpose()?;
    let work = async move |sender| engine.image_load(archive, platform, sender).await;
    Ok(progress::stream(context, query.flag_or("quiet", true), work))
}

async fn push(
    State(app): State<App>,
    context: Context,
    Path(name): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Reply {
    let tagged = match query.get("tag") {
        "" => name.clone(),
        tag => format!("{name}:{tag}"),
    };
    check_platform(&app, &context, &tagged, &query)?;
    let (engine, tag, auth) =
        (app.engine.clone(), query.get("tag").to_owned(), registry_auth(&headers));
    progress::reply(context, async move |sender| engine.image_push(&name, &tag, auth, sender).await)
        .await
}

async fn prune(State(app): State<App>, query: Query) -> Reply {
    reply::json(&app.engine.image_prune(query.filters()?).await?)
}

async fn search(State(app): State<App>, query: Query, headers: HeaderMap) -> Reply {
    let limit = query.number::<i64>("limit")?.unwrap_or(0);
    let (term, filters) = (query.get("term"), query.filters()?);
    reply::json(&app.engine.image_search(term, limit, filters, registry_auth(&headers)).await?)
}

/// Refuses an image that is not for the platform that the client names.
fn check_platform(app: &App, context: &Context, name: &str, query: &Query) -> Result<(), Error> {
    match query.text("platform").filter(|_| context.version >= ApiVersion(1, 48)) {
        Some(platform) => app.engine.image_is_for(name, &platform),
        None => Ok(()),
    }
}

async fn save(
    State(app): State<App>,
    context: Context,
    Path(name): Path<String>,
    query: Query,
) -> Reply {
    check_platform(&app, &context, &name, &query)?;
    Ok(reply::stream(reply::TAR, app.engine.image_save(&[name])?))
}

async fn save_several(State(app): State<App>, context: Context, query: Query) -> Reply {
    let names = query.all("names");
    for name in &names {
        check_platform(&app, &context, name, &query)?;
    }
    Ok(reply::stream(reply::TAR, app.engine.image_save(&names)?))
}

async fn inspect(
    State(app): State<App>,
    context: Context,
    Path(name): Path<String>,
    query: Query,
) -> Reply {
    if query.flag("manifests") && query.text("platform").is_some() {
        let refused = "conflicting options: manifests and platform options cannot both be set";
        return Err(Error::invalid(refused).into());
    }
    check_platform(&app, &context, &name, &query)?;
    let mut image = app.engine.image_inspect(&name)?;
    if context.version < ApiVersion(1, 44) {
        image.virtual_size = Some(image.size);
        image.created.get_or_insert_default();
    }
    if context.version >= ApiVersion(1, 45) {
        image.container.clear();
    }
    // dockerd leaves it out of 1.45 and later. docker-compose 1.29 reads it whatever the version, and dies
    // without when it recreates a service; to others a field more is none.
    let config = image.config.clone().unwrap_or_default();
    image.container_config.get_or_insert(config);
    if context.version >= ApiVersion(1, 45) || !image.container.is_empty() {
        return reply::json(&image);
    }
    let mut old = serde_json::to_value(&image)
        .map_err(|err| Error::caused("failed to write the reply", err))?;
    old["Container"] = serde_json::json!("");
    reply::json(&old)
}

async fn history(
    State(app): State<App>,
    context: Context,
    Path(name): Path<String>,
    query: Query,
) -> Reply {
    check_platform(&app, &context, &name, &query)?;
    reply::json(&app.engine.image_history(&name)?)
}

async fn tag(State(app): State<App>, Path(name): Path<String>, query: Query) -> Reply {
    app.engine.image_tag(&name, query.get("repo"), query.get("tag")).await?;
    Ok(StatusCode::CREATED.into_response())
}

async fn remove(
    State(app): State<App>,
    context: Context,
    Path(name): Path<String>,
    query: Query,
) -> Reply {
    if name.trim().is_empty() {
        return Err(Error::invalid("image name cannot be blank").into());
    }
    if context.version >= ApiVersion(1, 50) {
        // An image here is for one platform: it goes if it is for all that are named.
        for platform in query.all("platforms") {
            app.engine.image_is_for(&name, &platform)?;
        }
    }
    reply::json(&app.engine.image_remove(&name, query.flag("force"), query.flag("noprune")).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_in_either_alphabet_and_padding() {
        for text in ["eyJ1c2VybmFtZSI6ImEifQ==", "eyJ1c2VybmFtZSI6ImEifQ", "eyJVc2VybmFtZSI6ImEifQ"]
        {
            let headers =
                [("x-registry-auth".parse().unwrap(), text.parse().unwrap())].into_iter().collect();
            assert_eq!(registry_auth(&headers).username, "a");
        }
        assert_eq!(registry_auth(&HeaderMap::new()), AuthConfig::default());
    }

    #[test]
    fn old_clients_see_none_for_an_image_without_a_name() {
        let mut image = Summary { size: 7, ..Summary::default() };
        age(&mut image, ApiVersion(1, 42));
        assert_eq!(
            (image.repo_tags, image.virtual_size),
            (vec!["<none>:<none>".to_owned()], Some(7))
        );
    }
}
