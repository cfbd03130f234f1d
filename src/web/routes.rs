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
use super::frame::Frame;
use super::guard::guard;
use super::index::SharedSites;
use super::place::WebPlace;
use super::site::{Site, Sites};
use super::{actions, assets, index, items, live, metrics, output, rendering};
use crate::control::client::NoAnswer;

/// Makes the routes: those of the only queue, or of the list of several and of each of them.
pub(super) fn routes(sites: &Arc<Sites>) -> Router {
    let pages = match &sites.queues[..] {
        [only] => queue_routes(only),
        several => {
            let list = Router::new()
                .route("/", get(index::page))
                .route("/live", get(live::list))
                .route("/metrics", get(metrics::of_all))
                .with_state(Arc::clone(sites));
            several.iter().fold(list, |routes, site| {
                // What is nested at a path is not there at that path with a slash.
                let first = get(page).with_state(Arc::clone(site));
                let routes = routes.route(&site.base, first);
                routes.nest(site.base.trim_end_matches('/'), queue_routes(site))
            })
        }
    };
    let door = Arc::clone(&sites.door);
    pages
        .merge(door_routes(sites))
        .layer(middleware::from_fn_with_state(door, guard))
}

/// Makes the routes of one queue, as its own addresses.
fn queue_routes(site: &Arc<Site>) -> Router {
    Router::new()
        .route("/live", get(live::stream))
        .route("/items/{number}/text", get(items::whole))
        .route("/items/{number}/output", get(output::whole))
        .route("/items/{number}/follow", get(output::follow))
        .route("/items/{number}/json", get(items::raw))
        .route("/act/{act}", post(actions::act))
        .route("/metrics", get(metrics::of_one))
        .fallback(page)
        .with_state(Arc::clone(site))
}

/// Makes the routes that are the same whatever is shown.
fn door_routes(sites: &Arc<Sites>) -> Router {
    Router::new()
        .route("/login", get(ask_token).post(log_in))
        .route("/logout", post(log_out))
        .route("/health", get(healthy))
        .route("/health/live", get(healthy))
        .route("/health/ready", get(ready))
        .route("/assets/{name}", get(asset))
        .with_state(Arc::clone(sites))
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
    let address = site.within(&address);
    let place = WebPlace::of(address).filter(|_| {
        let method = request.method();
        *method == Method::GET || *method == Method::HEAD
    });
    let frame = Frame {
        base: Some(&site.base),
        queue: site.name.as_deref(),
        visitor: Some(&visitor),
        path: address,
        has_login: site.door.access.has_token(),
        said: None,
    };
    let Some(place) = place else {
        let body = html! { p { "There is nothing at this address." } };
        return shown(StatusCode::NOT_FOUND, frame.around("Not found", body));
    };
    let said = visitor.take_said();
    let said = said.as_deref();
    match rendering::page(&site, &place, &visitor).await {
        Ok(page) => shown(StatusCode::OK, Frame { said, ..frame }.of(&page)),
        Err(why) => {
            let body = html! { p { (why) } };
            shown(status_of(&why), frame.around("No answer", body))
        }
    }
}

/// Returns the status of an answer that tells why there is no page.
fn status_of(why: &NoAnswer) -> StatusCode {
    match why {
        NoAnswer::Refused { code, .. } if code == "unknown_item" => StatusCode::NOT_FOUND,
        NoAnswer::Refused { .. } => StatusCode::CONFLICT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

pub(super) fn address_of(uri: &Uri) -> String {
    uri.path_and_query()
        .map_or_else(|| "/".into(), ToString::to_string)
}

async fn healthy() -> &'static str {
    "ok\n"
}

/// Tells whether each run takes items and works on them.
async fn ready(State(sites): SharedSites) -> (StatusCode, &'static str) {
    for site in &sites.queues {
        match site.run.get("/v1/status?workers=false").await {
            Ok(status) if status["state"] != "stopping" => {}
            _ => return (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        }
    }
    (StatusCode::OK, "ready\n")
}

async fn asset(Path(name): Path<String>) -> Response {
    match assets::find(&name) {
        Some((kind, text)) => ([(CONTENT_TYPE, kind)], text).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Returns an address of ours to which the login leads, and the first page for any other.
fn way_in<'a>(sites: &Sites, to: &'a str) -> &'a str {
    let is_page = |site: &Arc<Site>| {
        let within = to.strip_prefix(site.base.trim_end_matches('/'));
        within.is_some_and(|within| WebPlace::of(within).is_some())
    };
    match sites.queues.iter().any(is_page) {
        true => to,
        false => "/",
    }
}

async fn ask_token(State(sites): SharedSites, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let fields: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
    let to = fields.get("to").map_or("/", |to| way_in(&sites, to));
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
    let frame = Frame {
        said,
        ..Frame::default()
    };
    shown(status, frame.around("Log in", body))
}

async fn log_in(State(sites): SharedSites, body: Body) -> Response {
    let fields = match actions::fields(body).await {
        Ok(fields) => fields,
        Err(refused) => return refused,
    };
    let field = |name| fields.iter().find(|(field, _)| field == name);
    let to = field("to").map_or("/", |(_, to)| way_in(&sites, to));
    let to = to.to_owned();
    let token = field("token").map(|(_, token)| token.clone());
    let Some(cookie) = token.and_then(|token| sites.door.log_in(&token)) else {
        sites.door.slow_down().await;
        return login_form(StatusCode::FORBIDDEN, &to, Some("This is not the token."));
    };
    with_cookie(Redirect::to(&to).into_response(), Some(cookie))
}

async fn log_out(
    State(sites): SharedSites,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match actions::own_fields(&visitor, body).await {
        Ok(_) => with_cookie(
            Redirect::to("/").into_response(),
            sites.door.log_out(&headers),
        ),
        Err(refused) => refused,
    }
}

fn with_cookie(mut response: Response, cookie: Option<HeaderValue>) -> Response {
    if let Some(cookie) = cookie {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
