//! The answer to a request that failed: `{code, message}`, with its HTTP status. The codes are
//! a contract with other programs: see `docs/api.md`.

use std::fmt;

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, StatusCode};
use serde_json::json;

use crate::error::Error;

/// The answer to a request that failed.
#[derive(Debug)]
pub(super) struct RequestFailure {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl RequestFailure {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        RequestFailure {
            status,
            code,
            message,
        }
    }

    /// Says that the request makes no sense.
    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        RequestFailure::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Says that the state of the run, or of the item, does not allow it.
    pub(super) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        RequestFailure::new(StatusCode::CONFLICT, code, message)
    }

    /// Says that it is this program's own fault.
    pub(super) fn internal(why: &dyn fmt::Display) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        RequestFailure::new(status, "internal", why.to_string())
    }

    pub(super) fn closed() -> Self {
        RequestFailure::conflict("closed", "the run comes to its end")
    }

    pub(super) fn busy(what: &str) -> Self {
        let message = format!("{what}; try again later");
        RequestFailure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    pub(super) fn unknown_item(number: u64) -> Self {
        let message = format!("there is no item {number}, or it is not known any more");
        RequestFailure::new(StatusCode::NOT_FOUND, "unknown_item", message)
    }

    pub(super) fn nothing_to_cancel(number: u64) -> Self {
        let message = format!("item {number} has ended, or there is none of this number");
        RequestFailure::conflict("nothing_to_cancel", message)
    }

    pub(super) fn no_dead_letter(number: u64) -> Self {
        let message = format!(
            "item {number} is no dead letter, so it can be neither tried again nor dropped"
        );
        RequestFailure::conflict("no_dead_letter", message)
    }
}

impl From<Error> for RequestFailure {
    fn from(error: Error) -> Self {
        let (status, code) = match () {
            () if error.is_closed() => (StatusCode::CONFLICT, "closed"),
            () if error.is_resumed() => (StatusCode::CONFLICT, "resumed"),
            () if error.is_timeout() => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            () if error.is_no_workers_left() => {
                (StatusCode::SERVICE_UNAVAILABLE, "no_workers_left")
            }
            () if error.is_journal() || error.is_shared() => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_failed")
            }
            () if error.is_not_changed() => (StatusCode::CONFLICT, "not_changed"),
            () if error.is_full() => (StatusCode::SERVICE_UNAVAILABLE, "full"),
            () if error.is_not_serializable() => (StatusCode::BAD_REQUEST, "bad_item"),
            () if error.is_dependency() => (StatusCode::CONFLICT, "dependency"),
            () if error.is_setup() => (StatusCode::CONFLICT, "not_possible"),
            () => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        RequestFailure::new(status, code, error.to_string())
    }
}

impl IntoResponse for RequestFailure {
    fn into_response(self) -> Response {
        let body = json!({"code": self.code, "message": self.message});
        answer(self.status, body.to_string())
    }
}

/// Says that there is no such path.
pub(super) async fn unknown_path(request: Request) -> RequestFailure {
    let message = format!(
        "there is nothing at {}; docs/api.md has the paths, which begin with /v1/",
        request.uri().path()
    );
    RequestFailure::new(StatusCode::NOT_FOUND, "unknown_path", message)
}

/// Says that a path is not asked by this method.
pub(super) async fn wrong_method(method: Method, request: Request) -> RequestFailure {
    let message = format!("{method} is not for {}", request.uri().path());
    RequestFailure::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message)
}

/// Makes a response of a JSON text.
pub(super) fn answer(status: StatusCode, json: String) -> Response {
    let mut response = Response::new((json + "\n").into());
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
