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
use maud::{Markup, html};
use serde_json::Value;

use super::auth::{Visitor, guard};
use super::frame::{Page, frame, framed};
use super::site::Site;
use super::{acts, assets, dead, items, live, metrics, output, overview, workers};
use crate::ItemState;
use crate::control::client::NoAnswer;

/// A page, by its address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Overview,
    Workers,
    Items(ItemSearch),
    Item(u64),
    Dead(ItemSearch),
}

/// The items that are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct ItemSearch {
    pub(super) state: Option<ItemState>,
    pub(super) text: String,
    pub(super) after: u64,
}

impl Place {
    /// Reads an address: a path, and what is asked of it.
    pub(super) fn of(address: &str) -> Option<Self> {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let search = || ItemSearch::of(query);
        Some(match path {
            "/" => Place::Overview,
            "/workers" => Place::Workers,
            "/items" => Place::Items(search()?),
            "/dead" => Place::Dead(search()?),
            path => Place::Item(path.strip_prefix("/items/")?.parse().ok()?),
        })
    }

    pub(super) async fn render(&self, site: &Site, visitor: &Visitor) -> Result<Page, NoAnswer> {
        match self {
            Place::Overview => overview::page(site, visitor).await,
            Place::Workers => workers::page(site, visitor).await,
            Place::Items(search) => items::list(site, search).await,
            Place::Item(number) => items::single(site, *number, visitor).await,
            Place::Dead(search) => dead::page(site, search, visitor).await,
        }
    }
}

impl ItemSearch {
    fn of(query: &str) -> Option<Self> {
        let mut fields: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
        let state = fields.remove("state").filter(|state| !state.is_empty());
        let state = state.map(|state| serde_json::from_value(Value::from(&*state)));
        let after = fields.remove("after").map(|after| after.parse());
        Some(ItemSearch {
            state: state.transpose().ok()?,
            text: fields.remove("text").unwrap_or_default().into_owned(),
            after: after.transpose().ok()?.unwrap_or(0),
        })
    }

    /// Returns the address of the list of these.
    pub(super) fn address(&self, path: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(state) = self.state {
            query.append_pair("state", &state.to_string());
        }
        if !self.text.is_empty() {
            query.append_pair("text", &self.text);
        }
        if self.after > 0 {
            query.append_pair("after", &self.after.to_string());
        }
        format!("{path}?{}", query.finish())
    }
}

pub(super) type SharedSite = State<Arc<Site>>;

/// Makes the routes.
pub(super) fn routes(site: Arc<Site>) -> Router {
    Router::new()
        .route("/live", get(live::stream))
        .route("/items/{number}/output", get(output::whole))
        .route("/items/{number}/follow", get(output::follow))
        .route("/items/{number}/json", get(items::raw))
        .route("/act/{act}", post(acts::act))
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

/// Answers with markup.
pub(super) fn shown(status: StatusCode, markup: Markup) -> Response {
    let kind = [(CONTENT_TYPE, "text/html; charset=utf-8")];
    (status, kind, markup.into_string()).into_response()
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
    let place = Place::of(&address).filter(|_| {
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
    match site.page(&place, &visitor).await {
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

/// Returns an address of ours to which a form leads back, and the overview for any other.
pub(super) fn way_back(address: &str) -> &str {
    match Place::of(address) {
        Some(_) => address,
        None => "/",
    }
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
    let fields = match acts::fields(body).await {
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
    match acts::own_fields(&visitor, body).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_page_or_none() {
        assert_eq!(Place::of("/"), Some(Place::Overview));
        assert_eq!(Place::of("/items/7"), Some(Place::Item(7)));
        let search = ItemSearch {
            state: Some(ItemState::Resting),
            text: "a b".into(),
            after: 7,
        };
        let address = search.address("/items");
        assert_eq!(address, "/items?state=resting&text=a+b&after=7");
        assert_eq!(Place::of(&address), Some(Place::Items(search)));
        for address in [
            "",
            "/items/x",
            "/items/7/8",
            "/items?state=odd",
            "/../etc",
            "//evil",
            "/dead?after=x",
        ] {
            assert_eq!(Place::of(address), None, "{address}");
        }
    }

    #[test]
    fn no_form_leads_elsewhere() {
        assert_eq!(way_back("/items?text=x"), "/items?text=x");
        for address in [
            "https://evil.example/",
            "//evil.example",
            "/\\evil",
            "javascript:1",
        ] {
            assert_eq!(way_back(address), "/", "{address}");
        }
    }
}
