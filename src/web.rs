//! The page: how a run stands, for a browser, and the same in numbers for Prometheus.
//!
//! It is a client of the control API like any other, so a run may serve its own page or another process
//! that of a run. Pages are rendered here and need no script; a short one keeps what is shown true while
//! somebody looks. Nothing is asked while nobody does. What a visitor may do is decided in `access` and
//! `guard` alone, and every text of an item or a worker is escaped where it is written.

mod access;
mod actions;
mod answer;
mod assets;
mod dead;
mod frame;
mod guard;
mod history;
mod index;
mod items;
mod live;
mod metrics;
mod output;
mod overview;
mod place;
mod rendering;
mod routes;
mod server;
mod shown;
mod site;
#[cfg(feature = "cli")]
mod stream;
mod timeline;
mod words;
mod workers;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use self::access::Access;
#[cfg(feature = "cli")]
pub(crate) use self::access::random_token;
use self::server::WebServer;
use self::shown::ShownRun;
use self::site::{Door, Sites};
use crate::error::{Error, Kind};

/// Where the page is, where nothing else is said.
pub const WEB_ADDRESS: &str = "127.0.0.1:8765";

/// A page that shows a run to browsers and lets it be steered, until it is dropped.
///
/// `docs/web.md` has its addresses, and what protects it. Without a token it is served on the loopback
/// device alone.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
///
/// use dishrack::{Control, Controlled, JoinableQueue, Supervisor, Web};
///
/// let queue = JoinableQueue::unbounded();
/// let pool = Supervisor::builder().threads(2).handler(&queue, |n: u32| Ok::<_, String>(n + 1))?;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("numbers.sock");
/// let control = Control::serve_at(&path, Controlled::new(&queue, &Arc::new(pool)))?;
/// let page = Web::of(control.path()).serve("127.0.0.1:0")?;
/// println!("look at http://{}/", page.address());
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Web {
    server: WebServer,
}

/// The page of a run, before it is served.
///
/// # Example
///
/// ```
/// use dishrack::Web;
///
/// // Others could reach this address, and it would know nobody.
/// let open = Web::of("numbers.sock").serve("0.0.0.0:0");
/// assert!(open.is_err_and(|error| error.is_setup()));
///
/// let page = Web::of("numbers.sock").token("a secret").reading_token("for those who look");
/// let page = page.host("numbers.example.org").serve("127.0.0.1:0")?;
/// assert_ne!(page.address().port(), 0);
/// # Ok::<(), dishrack::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it is not served yet"]
pub struct WebOptions {
    runs: Vec<ShownRun>,
    access: Access,
}

impl Web {
    /// Describes the page of the run whose control socket is at this path.
    pub fn of(path: impl AsRef<Path>) -> WebOptions {
        WebOptions {
            runs: vec![ShownRun::at(path.as_ref())],
            access: Access::default(),
        }
    }

    /// Returns the address at which it is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

impl WebOptions {
    /// Shows one more queue on the same page: that of the control socket at this path. The first page is a
    /// list of all queues then, and each has its own at `/q/NAME/`, where NAME is that of its socket without
    /// `.sock`.
    ///
    /// # Example
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use dishrack::{Control, Controlled, JoinableQueue, Supervisor, Web};
    ///
    /// let (mails, images) = (JoinableQueue::unbounded(), JoinableQueue::unbounded());
    /// let senders = Supervisor::builder().threads(4).handler(&mails, |_: String| Ok::<_, String>(()))?;
    /// let resizers = Supervisor::builder().threads(1).handler(&images, |_: u64| Ok::<_, String>(()))?;
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = |name: &str| folder.path().join(name);
    /// let mails = Control::serve_at(path("mails.sock"), Controlled::new(&mails, &Arc::new(senders)))?;
    /// let images = Control::serve_at(path("images.sock"), Controlled::new(&images, &Arc::new(resizers)))?;
    /// let page = Web::of(mails.path()).and(images.path()).serve("127.0.0.1:0")?;
    /// println!("look at http://{0}/ and http://{0}/q/images/", page.address());
    /// # Ok::<(), dishrack::Error>(())
    /// ```
    pub fn and(mut self, path: impl AsRef<Path>) -> Self {
        self.runs.push(ShownRun::at(path.as_ref()));
        self
    }

    /// Lets only those in who have this token: by a form, or as `Authorization: Bearer TOKEN`.
    pub fn token(mut self, token: &str) -> Self {
        self.access.set_token(token);
        self
    }

    /// Lets those who have this token look, and change nothing.
    pub fn reading_token(mut self, token: &str) -> Self {
        self.access.set_reading_token(token);
        self
    }

    /// Lets nobody change anything.
    pub fn read_only(mut self) -> Self {
        self.access.read_only();
        self
    }

    /// Adds a name by which browsers may ask for it, beside addresses, `localhost` and the name of this
    /// machine. Any other is refused, so that a page of another server cannot have its name lead here
    /// (DNS rebinding).
    pub fn host(mut self, name: &str) -> Self {
        self.access.add_host(name);
        self
    }

    /// Serves it at this address. Port 0 is any that is free.
    ///
    /// # Errors
    /// `is_setup`: the address cannot be used, or others can reach it and there is no token; or two of several
    /// queues have the same name.
    pub fn serve(self, address: impl ToSocketAddrs) -> Result<Web, Error> {
        self.check_names()?;
        let listener = TcpListener::bind(address);
        let opened = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (bound, listener) = opened.map_err(Kind::io("opening the address of the page"))?;
        if !bound.ip().is_loopback() && !self.access.has_token() {
            let why = format!(
                "{bound}: others can reach it, so it needs a token by which it knows who may look"
            );
            return Err(Error(Kind::invalid("web", why)));
        }
        let (ending, ends) = watch::channel(false);
        let door = Door::new(self.access, bound, ends);
        let sites = Arc::new(Sites::new(self.runs, door));
        let server = WebServer::start(listener, bound, routes::routes(&sites), ending);
        let server = server.map_err(Kind::io("starting the thread of the page"))?;
        Ok(Web { server })
    }

    /// Checks that each of several queues has an address of its own.
    fn check_names(&self) -> Result<(), Error> {
        let mut names = BTreeSet::new();
        for run in self.runs.iter().filter(|_| self.runs.len() > 1) {
            let name = run.name();
            let path = run.path.display();
            if !name.bytes().any(|letter| letter != b'.') {
                let why = format!("{path}: a queue beside others needs a name");
                return Err(Error(Kind::invalid("web", why)));
            }
            if !names.insert(name.clone()) {
                let why = format!("{path}: another queue has the name {name} already");
                return Err(Error(Kind::invalid("web", why)));
            }
        }
        Ok(())
    }
}
