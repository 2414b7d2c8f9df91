//! The agent's side: routes, limits and the socket file.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path as UrlPath, Query, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tokio::net::UnixListener;

use super::{Failure, http_status, view};
use crate::{
    agent::Handle,
    config,
    desired::command::Command,
    error::{Error, Kind},
};

/// The routes.
pub fn router(handle: Handle) -> Router {
    Router::new()
        .route("/v1/commands", post(command))
        .route("/v1/preview", post(preview))
        .route("/v1/drains", get(drains))
        .route("/v1/status", get(status))
        .route("/v1/services", get(services))
        .route("/v1/services/{name}", get(service))
        .route("/v1/backends", get(backends))
        .route("/v1/health", get(health))
        .route("/v1/stats", get(stats))
        .fallback(|| async { ApiError(Error::not_found("no such path; this is the agent of lb")) })
        .layer(DefaultBodyLimit::max(config::REQUEST_BYTES_MAX))
        .with_state(handle)
}

/// A failure on its way to the client.
struct ApiError(Error);

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(http_status(self.0.kind)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(Failure::from(self.0))).into_response()
    }
}

type Answer<T> = Result<Json<T>, ApiError>;

/// Which service a list is about; all if none.
#[derive(Deserialize)]
struct Filter {
    service: Option<String>,
}

async fn command(
    State(handle): State<Handle>,
    body: Result<Json<Command>, JsonRejection>,
) -> Answer<view::Outcome> {
    let Json(command) = body.map_err(|error| Error::invalid(format!("request: {}", error.body_text())))?;
    Ok(Json(handle.command(command).await?))
}

async fn preview(
    State(handle): State<Handle>,
    body: Result<Json<Command>, JsonRejection>,
) -> Answer<view::Preview> {
    let Json(command) = body.map_err(|error| Error::invalid(format!("request: {}", error.body_text())))?;
    Ok(Json(handle.preview(command).await?))
}

async fn drains(State(handle): State<Handle>, Query(filter): Query<Filter>) -> Answer<view::DrainList> {
    Ok(Json(handle.read(move |state| Ok(state.drains(filter.service.as_deref()))).await?))
}

async fn status(State(handle): State<Handle>) -> Answer<view::Status> {
    Ok(Json(handle.read(|state| Ok(state.status())).await?))
}

async fn services(State(handle): State<Handle>) -> Answer<view::ServiceList> {
    Ok(Json(handle.read(|state| Ok(state.services())).await?))
}

async fn service(
    State(handle): State<Handle>,
    UrlPath(name): UrlPath<String>,
) -> Answer<view::ServiceDetail> {
    Ok(Json(handle.read(move |state| state.service(&name)).await?))
}

async fn backends(State(handle): State<Handle>, Query(filter): Query<Filter>) -> Answer<view::BackendList> {
    Ok(Json(handle.read(move |state| state.backends(filter.service.as_deref())).await?))
}

async fn health(State(handle): State<Handle>, Query(filter): Query<Filter>) -> Answer<view::HealthList> {
    Ok(Json(handle.read(move |state| state.health(filter.service.as_deref())).await?))
}

async fn stats(State(handle): State<Handle>, Query(filter): Query<Filter>) -> Answer<view::Stats> {
    Ok(Json(handle.read(move |state| state.stats(filter.service.as_deref())).await?))
}

/// Makes the socket's directory, so that the lock beside it can be taken.
///
/// # Errors
/// The file system refused.
pub fn make_directory(socket: &Path) -> Result<(), Error> {
    let Some(directory) = socket.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    fs::create_dir_all(directory).map_err(|error| socket_error("make the directory of", socket, &error))
}

/// Listens on a socket file. The caller holds the lock that says no other agent does, so a file that is there is a
/// dead agent's.
///
/// # Errors
/// The file system refused, or something else than a socket stands there.
pub fn listen(socket: &Path) -> Result<UnixListener, Error> {
    use std::os::unix::fs::FileTypeExt;
    match fs::symlink_metadata(socket) {
        Ok(found) if found.file_type().is_socket() => {
            fs::remove_file(socket).map_err(|error| socket_error("replace", socket, &error))?;
        }
        Ok(_) => {
            return Err(Error::conflict(format!("{} exists and is not a socket", socket.display())));
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(socket).map_err(|error| socket_error("listen on", socket, &error))?;
    if let Some(group) = group_id(config::GROUP) {
        chown(socket, None, Some(group)).map_err(|error| socket_error("give group lb", socket, &error))?;
    }
    fs::set_permissions(socket, fs::Permissions::from_mode(0o660))
        .map_err(|error| socket_error("set the permissions of", socket, &error))?;
    Ok(listener)
}

/// Number of a local group.
fn group_id(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

fn socket_error(doing: &str, socket: &Path, error: &std::io::Error) -> Error {
    let text = format!("{doing} {}: {error}", socket.display());
    match error.kind() {
        ErrorKind::PermissionDenied => Error::new(Kind::Permission, format!("{text}; run with sudo")),
        _ => Error::failed(text),
    }
}
