//! The numbers for Prometheus, as the control API tells them.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

use super::answer::SharedSite;

pub(super) async fn answer(State(site): SharedSite, headers: HeaderMap) -> Response {
    let accepts = headers
        .get(ACCEPT)
        .and_then(|accepts| accepts.to_str().ok());
    match site.run.metrics(accepts.unwrap_or_default()).await {
        Ok((form, text)) => ([(CONTENT_TYPE, form)], text).into_response(),
        Err(why) => (StatusCode::BAD_GATEWAY, format!("{why}\n")).into_response(),
    }
}
