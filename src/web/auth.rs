//! Who may see the page, and who may change something: hosts and origins, tokens, sessions, and the headers
//! that keep browsers strict. Nothing else decides that.
//!
//! A page of another server cannot act here: its name does not lead here (the host is checked), its
//! requests say where they come from (the origin is checked) and do not bring the cookie
//! (`SameSite=Strict`), and it does not know the token that each form has. No script but the page's own
//! runs (`Content-Security-Policy`).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, REFERRER_POLICY, SET_COOKIE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Method, StatusCode};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::site::Site;

/// The number of sessions that are known; beyond it the one that was not used for longest is forgotten.
const SESSIONS_MAX: usize = 1024;

/// The scripts, styles and pictures of a page are its own, and nobody else shows it in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The rights of a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// To look.
    Reader,
    /// To look and to change.
    Operator,
}

type TokenDigest = [u8; 32];

fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token).into()
}

/// The rules of who is let in.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// Kept as digests, so that a comparison tells nothing of them by its time.
    tokens: Vec<(TokenDigest, Role)>,
    is_read_only: bool,
    /// Names by which it may be asked for, beside those that are always allowed.
    hosts: Vec<String>,
}

impl Access {
    pub(super) fn set_token(&mut self, token: &str) {
        self.tokens.push((digest(token), Role::Operator));
    }

    pub(super) fn set_reading_token(&mut self, token: &str) {
        self.tokens.push((digest(token), Role::Reader));
    }

    pub(super) fn read_only(&mut self) {
        self.is_read_only = true;
    }

    pub(super) fn add_host(&mut self, name: &str) {
        self.hosts.push(name.to_owned());
    }

    pub(super) fn has_token(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Returns the rights of whoever has this token.
    pub(super) fn role_of(&self, token: &str) -> Option<Role> {
        let wanted = digest(token);
        let known = self.tokens.iter().find(|(digest, _)| *digest == wanted);
        known.map(|(_, role)| self.bounded(*role))
    }

    fn bounded(&self, role: Role) -> Role {
        match self.is_read_only {
            true => Role::Reader,
            false => role,
        }
    }

    /// Returns `true` if a browser may have come here by this host: an address, or a name that is this
    /// machine's. The server of another name has it lead here to act with the rights of its visitors.
    fn admits_host(&self, host: &str) -> bool {
        let name = match host.parse::<SocketAddr>() {
            Ok(_) => return true,
            Err(_) => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let own = rustix::system::uname();
        let own = own.nodename().to_str().unwrap_or_default();
        let mut names = self
            .hosts
            .iter()
            .map(String::as_str)
            .chain(["localhost", own]);
        bare.parse::<IpAddr>().is_ok()
            || name.parse::<IpAddr>().is_ok()
            || names.any(|one| !one.is_empty() && one.eq_ignore_ascii_case(name))
    }
}

/// A visitor who was let in.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) role: Role,
    /// The token that a form of its must have; `None` for one that has no browser.
    pub(super) form_token: Option<Arc<str>>,
    /// What its last change came to, for the next page.
    said: Arc<Mutex<Option<String>>>,
}

impl Visitor {
    fn new(role: Role, form_token: Option<Arc<str>>) -> Self {
        Visitor {
            role,
            form_token,
            said: Arc::default(),
        }
    }

    /// Keeps what a change came to for the next page.
    pub(super) fn say(&self, said: String) {
        *self.said.lock() = Some(said);
    }

    pub(super) fn take_said(&self) -> Option<String> {
        self.said.lock().take()
    }

    pub(super) fn may_change(&self) -> bool {
        self.role == Role::Operator
    }

    /// Returns `true` if a form with this token is one of this visitor's.
    pub(super) fn has_form(&self, token: &str) -> bool {
        let is_same = |own: &Arc<str>| digest(own) == digest(token);
        self.form_token.as_ref().is_none_or(is_same)
    }
}

#[derive(Debug)]
struct Session {
    visitor: Visitor,
    used: Instant,
}

/// The visitors with a cookie.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<TokenDigest, Session>>);

impl Sessions {
    /// Begins one, and returns its secret.
    pub(super) fn begin(&self, role: Role) -> (String, Visitor) {
        let secret = random_token();
        let visitor = Visitor::new(role, Some(random_token().into()));
        let session = Session {
            visitor: visitor.clone(),
            used: Instant::now(),
        };
        let mut all = self.0.lock();
        if all.len() >= SESSIONS_MAX {
            let oldest = all.iter().min_by_key(|(_, session)| session.used);
            let oldest = oldest.map(|(secret, _)| *secret);
            oldest.and_then(|secret| all.remove(&secret));
        }
        all.insert(digest(&secret), session);
        (secret, visitor)
    }

    fn find(&self, secret: &str) -> Option<Visitor> {
        let mut all = self.0.lock();
        let session = all.get_mut(&digest(secret))?;
        session.used = Instant::now();
        Some(session.visitor.clone())
    }

    fn end(&self, secret: &str) {
        self.0.lock().remove(&digest(secret));
    }
}

/// Returns 256 random bits.
pub(crate) fn random_token() -> String {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        // It fails only where it is interrupted.
        filled += rustix::rand::getrandom(&mut bytes[filled..], flags).unwrap_or(0);
    }
    let mut text = String::with_capacity(64);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

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
    State(site): State<Arc<Site>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    let is_open = path.starts_with("/health") || path.starts_with("/assets/");
    let mut response = match is_open {
        true => next.run(request).await,
        false => match site.admit(&request) {
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

impl Site {
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
            let (secret, visitor) = self.sessions.begin(self.access.bounded(Role::Operator));
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
impl Visitor {
    pub(super) fn operator() -> Self {
        Visitor::new(Role::Operator, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_of_this_machine_lead_here_and_no_others() {
        let mut access = Access::default();
        access.add_host("jobs.example.org");
        for host in [
            "127.0.0.1:8765",
            "127.0.0.1",
            "[::1]:8765",
            "[::1]",
            "192.168.7.3:80",
            "localhost:8765",
            "LOCALHOST",
            "jobs.example.org:443",
            "jobs.example.org",
        ] {
            assert!(access.admits_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example:8765",
            "127.0.0.1.evil.example",
            "localhost.evil.example:8765",
            "jobs.example.org.evil.example",
            "127.0.0.1@evil.example",
        ] {
            assert!(!access.admits_host(host), "{host}");
        }
    }

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

    #[test]
    fn a_token_gives_its_rights_and_no_more() {
        let mut access = Access::default();
        assert!(!access.has_token());
        access.set_token("one");
        access.set_reading_token("two");
        assert_eq!(access.role_of("one"), Some(Role::Operator));
        assert_eq!(access.role_of("two"), Some(Role::Reader));
        assert_eq!(access.role_of(""), None);
        access.read_only();
        assert_eq!(access.role_of("one"), Some(Role::Reader));
    }

    #[test]
    fn so_many_sessions_are_known_and_each_has_its_own_form_token() {
        let sessions = Sessions::default();
        let (first, visitor) = sessions.begin(Role::Operator);
        let form = visitor.form_token.clone().unwrap_or_default();
        assert!(visitor.has_form(&form) && !visitor.has_form(""));
        let (second, other) = sessions.begin(Role::Reader);
        assert!(!other.has_form(&form) && !other.may_change());
        assert!(sessions.find(&first).is_some() && sessions.find("").is_none());
        for _ in 0..SESSIONS_MAX {
            sessions.begin(Role::Reader);
        }
        assert!(sessions.find(&second).is_none());
        assert_eq!(sessions.0.lock().len(), SESSIONS_MAX);
    }
}
