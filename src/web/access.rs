//! The rules of who may see the page, and change something: tokens, sessions, and the names by which it may be
//! asked for. It does not know requests.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::http::uri::Authority;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// The number of sessions that are known; beyond it the one that was not used for longest is forgotten.
const SESSIONS_MAX: usize = 1024;

/// The rights of a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum VisitorRole {
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
    tokens: Vec<(TokenDigest, VisitorRole)>,
    is_read_only: bool,
    /// Names by which it may be asked for, beside those that are always allowed.
    hosts: Vec<String>,
}

impl Access {
    pub(super) fn set_token(&mut self, token: &str) {
        self.tokens.push((digest(token), VisitorRole::Operator));
    }

    pub(super) fn set_reading_token(&mut self, token: &str) {
        self.tokens.push((digest(token), VisitorRole::Reader));
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
    pub(super) fn role_of(&self, token: &str) -> Option<VisitorRole> {
        let wanted = digest(token);
        let known = self.tokens.iter().find(|(digest, _)| *digest == wanted);
        known.map(|(_, role)| self.bounded(*role))
    }

    pub(super) fn bounded(&self, role: VisitorRole) -> VisitorRole {
        match self.is_read_only {
            true => VisitorRole::Reader,
            false => role,
        }
    }

    /// Returns `true` if a browser may have come here by this host: an address, or a name that is this
    /// machine's. The server of another name has it lead here to act with the rights of its visitors.
    pub(super) fn admits_host(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        let name = authority.host();
        let own = rustix::system::uname();
        let own = own.nodename().to_str().unwrap_or_default();
        let named = self.hosts.iter().map(String::as_str);
        let mut names = named.chain(["localhost", own]);
        let address = name.trim_start_matches('[').trim_end_matches(']');
        address.parse::<IpAddr>().is_ok() || names.any(|one| one.eq_ignore_ascii_case(name))
    }
}

/// A visitor who was let in.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) role: VisitorRole,
    /// The token that a form of its must have; `None` for one that has no browser.
    pub(super) form_token: Option<Arc<str>>,
    /// The result of its last change, for the next page.
    said: Arc<Mutex<Option<String>>>,
}

impl Visitor {
    pub(super) fn new(role: VisitorRole, form_token: Option<Arc<str>>) -> Self {
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
        self.role == VisitorRole::Operator
    }

    /// Returns `true` if a form with this token is one of this visitor's.
    pub(super) fn has_form(&self, token: &str) -> bool {
        let is_same = |own: &Arc<str>| digest(own) == digest(token);
        self.form_token.as_ref().is_none_or(is_same)
    }
}

#[derive(Debug)]
struct VisitorSession {
    visitor: Visitor,
    used: Instant,
}

/// The visitors with a cookie.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<TokenDigest, VisitorSession>>);

impl Sessions {
    /// Begins one, and returns its secret.
    pub(super) fn begin(&self, role: VisitorRole) -> (String, Visitor) {
        let secret = random_token();
        let visitor = Visitor::new(role, Some(random_token().into()));
        let session = VisitorSession {
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

    pub(super) fn find(&self, secret: &str) -> Option<Visitor> {
        let mut all = self.0.lock();
        let session = all.get_mut(&digest(secret))?;
        session.used = Instant::now();
        Some(session.visitor.clone())
    }

    pub(super) fn end(&self, secret: &str) {
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

#[cfg(test)]
impl Visitor {
    pub(super) fn operator() -> Self {
        Visitor::new(VisitorRole::Operator, None)
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
    fn a_token_gives_its_rights_and_no_more() {
        let mut access = Access::default();
        assert!(!access.has_token());
        access.set_token("one");
        access.set_reading_token("two");
        assert_eq!(access.role_of("one"), Some(VisitorRole::Operator));
        assert_eq!(access.role_of("two"), Some(VisitorRole::Reader));
        assert_eq!(access.role_of(""), None);
        access.read_only();
        assert_eq!(access.role_of("one"), Some(VisitorRole::Reader));
    }

    #[test]
    fn so_many_sessions_are_known_and_each_has_its_own_form_token() {
        let sessions = Sessions::default();
        let (first, visitor) = sessions.begin(VisitorRole::Operator);
        let form = visitor.form_token.clone().unwrap_or_default();
        assert!(visitor.has_form(&form) && !visitor.has_form(""));
        let (second, other) = sessions.begin(VisitorRole::Reader);
        assert!(!other.has_form(&form) && !other.may_change());
        assert!(sessions.find(&first).is_some() && sessions.find("").is_none());
        for _ in 0..SESSIONS_MAX {
            sessions.begin(VisitorRole::Reader);
        }
        assert!(sessions.find(&second).is_none());
        assert_eq!(sessions.0.lock().len(), SESSIONS_MAX);
    }
}
