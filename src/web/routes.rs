//! The addresses of the page: which there are, and who answers. They are listed in `docs/web.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, SET_COOKIE};
use hyper::{Method, StatusCode, Uri};
use maud::html;

use super::access::Visitor;
use super::answer::{SharedSite, shown};
use super::frame::{frame, framed};
use super::guard::guard;
use super::place::{WebPlace, way_back};
use super::site::Site;
use super::{actions, assets, items, live, metrics, output, rendering};
use crate::control::client::NoAnswer;

/// Makes the routes.
pub(super) fn routes(site: Arc<Site>) -> Router {
    Router::new()
        .route("/live", get(live::stream))
        .route("/items/{number}/text", get(items::whole))
        .route("/items/{number}/output", get(output::whole))
        .route("/items/{number}/follow", get(output::follow))
        .route("/items/{number}/json", get(items::raw))
        .route("/act/{act}", post(actions::act))
        .route("/login", get(ask_token).post(log_in))
        .route("/logout", post(log_out))
        .route("/metrics", get(metrics::answer))
        .route("/health", get(healthy))
        .route("/health/live", get(healthy))
        .route("/health/ready", get(ready))
        .route("/assets/{name}", get(asset))
        .fallback(page)
        .layer(middleware::from_fn_with_state(Arc::clone(&site), guard))
        .with_state(site)
}

async fn page(
    State(site): SharedSite,
    visitor: Option<Extension<Visitor>>,
    request: Request,
) -> Response {
    // Nobody was looked at on the way to a file or to the health, and there is none of this name.
    let Some(Extension(visitor)) = visitor else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let address = address_of(request.uri());
    let place = WebPlace::of(&address).filter(|_| {
        let method = request.method();
        *method == Method::GET || *method == Method::HEAD
    });
    let Some(place) = place else {
        let body = html! { p { "There is nothing at this address." } };
        let visitor = Some((&visitor, &*address, site.access.has_token()));
        return shown(
            StatusCode::NOT_FOUND,
            frame("Not found", body, visitor, None),
        );
    };
    let said = visitor.take_said();
    match rendering::page(&site, &place, &visitor).await {
        Ok(page) => {
            let has_login = site.access.has_token();
            let markup = framed(&page, &visitor, &address, said.as_deref(), has_login);
            shown(StatusCode::OK, markup)
        }
        Err(why) => failure(&site, &visitor, &address, &why),
    }
}

/// Tells why there is no page.
fn failure(site: &Site, visitor: &Visitor, address: &str, why: &NoAnswer) -> Response {
    let status = match why {
        NoAnswer::Refused { code, .. } if code == "unknown_item" => StatusCode::NOT_FOUND,
        NoAnswer::Refused { .. } => StatusCode::CONFLICT,
        _ => StatusCode::BAD_GATEWAY,
    };
    let body = html! { p { (why) } };
    let visitor = Some((visitor, address, site.access.has_token()));
    shown(status, frame("No answer", body, visitor, None))
}

pub(super) fn address_of(uri: &Uri) -> String {
    uri.path_and_query()
        .map_or_else(|| "/".into(), ToString::to_string)
}

async fn healthy() -> &'static str {
    "ok\n"
}

/// Tells whether the run takes items and works on them.
async fn ready(State(site): SharedSite) -> (StatusCode, &'static str) {
    match site.run.get("/v1/status").await {
        Ok(status) if status["state"] != "stopping" => (StatusCode::OK, "ready\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

async fn asset(Path(name): Path<String>) -> Response {
    match assets::find(&name) {
        Some((kind, text)) => ([(CONTENT_TYPE, kind)], text).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn ask_token(request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let fields: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
    let to = fields.get("to").map_or("/", |to| way_back(to));
    login_form(StatusCode::OK, to, None)
}

fn login_form(status: StatusCode, to: &str, said: Option<&str>) -> Response {
    let body = html! {
        form.login method="post" action="/login" {
            label for="token" { "Token" }
            input id="token" name="token" type="password" autocomplete="current-password" required autofocus;
            input type="hidden" name="to" value=(to);
            button type="submit" { "Log in" }
        }
    };
    shown(status, frame("Log in", body, None, said))
}

async fn log_in(State(site): SharedSite, body: Body) -> Response {
    let fields = match actions::fields(body).await {
        Ok(fields) => fields,
        Err(refused) => return refused,
    };
    let field = |name| fields.iter().find(|(field, _)| field == name);
    let to = field("to").map_or("/", |(_, to)| way_back(to)).to_owned();
    let token = field("token").map(|(_, token)| token.clone());
    let Some(cookie) = token.and_then(|token| site.log_in(&token)) else {
        site.slow_down().await;
        return login_form(StatusCode::FORBIDDEN, &to, Some("This is not the token."));
    };
    with_cookie(Redirect::to(&to).into_response(), Some(cookie))
}

async fn log_out(
    State(site): SharedSite,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match actions::own_fields(&visitor, body).await {
        Ok(_) => with_cookie(Redirect::to("/").into_response(), site.log_out(&headers)),
        Err(refused) => refused,
    }
}

fn with_cookie(mut response: Response, cookie: Option<HeaderValue>) -> Response {
    if let Some(cookie) = cookie {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
