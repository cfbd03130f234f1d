//! The guard at the door: hosts and origins, cookies, and the headers that keep browsers strict. With `access`,
//! nothing else decides that.
//!
//! A page of another server cannot act here: its name does not lead here (the host is checked), its
//! requests say where they come from (the origin is checked) and do not bring the cookie
//! (`SameSite=Strict`), and it does not know the token that each form has. No script but the page's own
//! runs (`Content-Security-Policy`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Method, StatusCode};

use super::access::{Visitor, VisitorRole};
use super::site::Door;

/// The scripts, styles and pictures of a page are its own, and nobody else shows it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'self'";

/// The reason for which a request is not answered.
#[derive(Debug)]
enum NotAdmitted {
    Host(String),
    Origin,
    /// It has to log in, and then comes to this place.
    Login(Option<String>),
}

impl IntoResponse for NotAdmitted {
    fn into_response(self) -> Response {
        let (status, why) = match self {
            NotAdmitted::Host(host) => {
                let why = format!(
                    "this page is not served under the name {host:?}: --web-host allows one more"
                );
                (StatusCode::MISDIRECTED_REQUEST, why)
            }
            NotAdmitted::Origin => {
                let why = "a page of another server has sent this, so it is refused";
                (StatusCode::FORBIDDEN, why.to_owned())
            }
            NotAdmitted::Login(Some(place)) => {
                let place: String = form_urlencoded::byte_serialize(place.as_bytes()).collect();
                return Redirect::to(&format!("/login?to={place}")).into_response();
            }
            NotAdmitted::Login(None) => {
                let why = "a token is needed: Authorization: Bearer TOKEN".to_owned();
                (StatusCode::UNAUTHORIZED, why)
            }
        };
        (status, format!("{why}\n")).into_response()
    }
}

/// Lets a request in, or answers it; and makes every answer strict.
pub(super) async fn guard(
    State(door): State<Arc<Door>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let is_open = path.starts_with("/health") || path.starts_with("/assets/");
    let mut response = match is_open {
        true => next.run(request).await,
        false => match door.admit(&request) {
            Err(refusal) => refusal.into_response(),
            Ok((visitor, cookie)) => {
                if let Some(visitor) = visitor {
                    request.extensions_mut().insert(visitor);
                }
                let mut response = next.run(request).await;
                if let Some(cookie) = cookie {
                    response.headers_mut().append(SET_COOKIE, cookie);
                }
                response
            }
        },
    };
    harden(response.headers_mut());
    response
}

fn harden(headers: &mut HeaderMap) {
    let strict = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        // Without any, a browser would not say from where a form of ours comes.
        (REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in strict {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let stored = headers.entry(CACHE_CONTROL);
    stored.or_insert(HeaderValue::from_static("no-store"));
}

type Admitted = (Option<Visitor>, Option<HeaderValue>);

impl Door {
    /// Decides on a request. Returns the visitor, who is unknown on the way to the login alone, and the
    /// cookie of a new session.
    fn admit(&self, request: &Request) -> Result<Admitted, NotAdmitted> {
        let headers = request.headers();
        let host = text(headers, &HOST).unwrap_or_default();
        if !self.access.admits_host(host) {
            return Err(NotAdmitted::Host(host.to_owned()));
        }
        let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
        if !is_reading && !is_own_origin(headers, host) {
            return Err(NotAdmitted::Origin);
        }
        let bearer = text(headers, &AUTHORIZATION).and_then(|said| said.strip_prefix("Bearer "));
        if let Some(role) = bearer.and_then(|token| self.access.role_of(token.trim())) {
            return Ok((Some(Visitor::new(role, None)), None));
        }
        if let Some(visitor) = self
            .secret(headers)
            .and_then(|secret| self.sessions.find(secret))
        {
            return Ok((Some(visitor), None));
        }
        if !self.access.has_token() {
            let (secret, visitor) = self
                .sessions
                .begin(self.access.bounded(VisitorRole::Operator));
            return Ok((Some(visitor), self.cookie(&secret)));
        }
        if request.uri().path() == "/login" {
            return Ok((None, None));
        }
        let accepts = text(headers, &hyper::header::ACCEPT).unwrap_or_default();
        let place = request.uri().path_and_query().map(ToString::to_string);
        Err(NotAdmitted::Login(
            place.filter(|_| is_reading && accepts.contains("text/html")),
        ))
    }

    /// Begins a session for whoever has this token. Returns its cookie.
    pub(super) fn log_in(&self, token: &str) -> Option<HeaderValue> {
        let role = self.access.role_of(token.trim())?;
        self.cookie(&self.sessions.begin(role).0)
    }

    /// Ends the session of a request, and returns the cookie that removes its own.
    pub(super) fn log_out(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if let Some(secret) = self.secret(headers) {
            self.sessions.end(secret);
        }
        let gone = format!(
            "{}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict",
            self.cookie_name()
        );
        HeaderValue::try_from(gone).ok()
    }

    /// Returns the name of the cookie. Those of all ports of a host are sent to each.
    fn cookie_name(&self) -> String {
        format!("dishrack-{}", self.port)
    }

    fn cookie(&self, secret: &str) -> Option<HeaderValue> {
        let cookie = format!(
            "{}={secret}; Path=/; HttpOnly; SameSite=Strict",
            self.cookie_name()
        );
        HeaderValue::try_from(cookie).ok()
    }

    fn secret<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.cookie_name();
        let cookies = headers.get_all(COOKIE).iter();
        let cookies = cookies.filter_map(|value| value.to_str().ok());
        let mut pairs = cookies.flat_map(|all| all.split(';'));
        pairs.find_map(|pair| pair.trim().strip_prefix(&*name)?.strip_prefix('='))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Returns `true` if a request that changes something comes from one of our own pages, or from no page.
fn is_own_origin(headers: &HeaderMap, host: &str) -> bool {
    if let Some(origin) = headers.get(ORIGIN) {
        let own = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"));
        return own.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host));
    }
    let site = headers.get("sec-fetch-site");
    site.is_none_or(|site| site == "same-origin" || site == "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_another_servers_page_is_known() {
        let headers = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            headers
        };
        let host = "127.0.0.1:8765";
        let is_own = |name, value| is_own_origin(&headers(name, value), host);
        assert!(is_own_origin(&HeaderMap::new(), host));
        assert!(is_own("origin", "http://127.0.0.1:8765"));
        assert!(is_own("sec-fetch-site", "same-origin"));
        for origin in [
            "null",
            "http://evil.example",
            "http://127.0.0.1:9000",
            "http://127.0.0.1",
        ] {
            assert!(!is_own("origin", origin), "{origin}");
        }
        assert!(!is_own("sec-fetch-site", "cross-site"));
        assert!(!is_own("sec-fetch-site", "same-site"));
    }
}
