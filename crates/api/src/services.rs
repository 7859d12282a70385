//! `/services/…`.

pub(crate) mod logs;

use crate::body::Document;
use crate::context::{App, Context};
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use crate::swarm::list::{labelled, named};
use crate::swarm::{refused, truth, version};
use crate::version::ApiVersion;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use engine::Filters;
use manager::control::find;
use manager::control::service::{self, Update};
use serde::Serialize;
use serde_json::json;
use types::swarm::service::{Service, ServiceSpec, ServiceStatus};

pub(crate) fn manager_routes() -> Router<App> {
    Router::new()
        .route("/services", get(list))
        .route("/services/create", post(create))
        .route("/services/{id}", get(inspect).delete(remove))
        .route("/services/{id}/update", post(update))
        .route("/services/{id}/logs", get(logs::of_service))
}

const FILTERS: &[&str] = &["id", "label", "mode", "name", "runtime"];

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    service: Service,
    #[serde(rename = "ServiceStatus", skip_serializing_if = "Option::is_none")]
    status: Option<ServiceStatus>,
}

async fn list(State(app): State<App>, context: Context, query: Query) -> Reply {
    let filters = query.filters()?;
    filters.validate(FILTERS)?;
    let counted = truth(&query, "status")? && context.version >= ApiVersion(1, 41);
    let state = app.cluster.control()?.read().await.map_err(refused)?;
    let services = state.services().iter().filter(|service| wanted(&filters, service));
    let services: Vec<Listed> = services
        .map(|service| Listed {
            status: counted.then(|| service::count(&state, service)),
            service: answer(service),
        })
        .collect();
    reply::json(&services)
}

fn wanted(filters: &Filters, service: &Service) -> bool {
    named(filters, &service.spec.name, service.id.as_str())
        && labelled(filters, "label", &service.spec.labels)
        && filters.matches("mode", |mode| mode == service::mode_word(&service.spec))
        && filters.matches("runtime", |runtime| runtime == "container")
}

/// The service as users see it: neither the managers' notes nor credentials.
fn answer(service: &Service) -> Service {
    let mut service = service.clone();
    service.record = None;
    for spec in std::iter::once(&mut service.spec).chain(&mut service.previous_spec) {
        if let Some(container) = &mut spec.task_template.container_spec {
            container.pull_options = None;
        }
    }
    service
}

async fn inspect(State(app): State<App>, Path(id): Path<String>, query: Query) -> Reply {
    let state = app.cluster.control()?.read().await.map_err(refused)?;
    let service = find::service(&state, &id).map_err(refused)?;
    if truth(&query, "insertDefaults")? {
        return reply::json(&answer(&service::with_defaults(service)));
    }
    reply::json(&answer(service))
}

async fn create(
    State(app): State<App>,
    context: Context,
    headers: HeaderMap,
    body: Document,
) -> Reply {
    let mut spec = read(&context, &body)?;
    let control = app.cluster.control()?;
    if spec.name.is_empty() {
        spec.name = app.engine.random_name();
    }
    let id = control.create_service(&spec, registry_auth(&headers)).await.map_err(refused)?;
    reply::json_with(StatusCode::CREATED, &json!({ "ID": id }))
}

async fn update(
    State(app): State<App>,
    context: Context,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
    body: Document,
) -> Reply {
    let update = Update {
        version: Some(version(&query, "service")?),
        auth_from: service::parse_auth_from(query.get("registryAuthFrom")).map_err(refused)?,
        spec: read(&context, &body)?,
        registry_auth: registry_auth(&headers).to_owned(),
        rollback: service::parse_rollback(query.get("rollback")).map_err(refused)?,
    };
    app.cluster.control()?.update_service(&id, update).await.map_err(refused)?;
    reply::json(&json!({ "Warnings": null }))
}

/// `POST /sampan/services/{id}/plan`: what the update with the same words would do.
pub(crate) async fn plan(
    State(app): State<App>,
    context: Context,
    Path(id): Path<String>,
    query: Query,
    body: Document,
) -> Reply {
    let update = Update {
        version: Some(version(&query, "service")?),
        spec: read(&context, &body)?,
        rollback: service::parse_rollback(query.get("rollback")).map_err(refused)?,
        ..Update::default()
    };
    reply::json(&app.cluster.control()?.plan_service(&id, update).await.map_err(refused)?)
}

/// Before API 1.44 networks could stand beside the task's template.
fn read(context: &Context, body: &Document) -> Result<ServiceSpec, engine::Error> {
    let mut spec: ServiceSpec = body.read()?;
    let beside = spec.networks.take().unwrap_or_default();
    if context.version < ApiVersion(1, 44) && spec.task_template.networks.is_empty() {
        spec.task_template.networks = beside;
    }
    Ok(spec)
}

fn registry_auth(headers: &HeaderMap) -> &str {
    headers.get("x-registry-auth").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

async fn remove(State(app): State<App>, Path(id): Path<String>) -> Reply {
    app.cluster.control()?.remove_service(&id).await.map_err(refused)?;
    reply::empty()
}
