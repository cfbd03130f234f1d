//! The things that pages have in common: the queues, who may look, and what was rendered a moment ago. It does not
//! know how.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, watch};

use super::access::{Access, Sessions, VisitorRole};
use super::frame::WebPage;
use super::history::RateHistory;
use super::place::{WebPlace, in_path};
use super::shown::ShownRun;

/// The pause after a wrong token.
const TRY_PAUSE: Duration = Duration::from_millis(500);

/// The time for which a page is shown to others as well, so that many that look at the same thing cost
/// the run as much as one.
const FRESH: Duration = Duration::from_millis(800);

/// The number of pages that are kept.
const KEPT_MAX: usize = 64;

/// The rules of who may look, which hold for all queues of the page.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) access: Access,
    pub(super) sessions: Sessions,
    pub(super) port: u16,
    /// Becomes true when the page ends.
    pub(super) ends: watch::Receiver<bool>,
    /// Held by whoever has tried a wrong token.
    trying: AsyncMutex<()>,
}

impl Door {
    pub(super) fn new(access: Access, address: SocketAddr, ends: watch::Receiver<bool>) -> Self {
        Door {
            access,
            sessions: Sessions::default(),
            port: address.port(),
            ends,
            trying: AsyncMutex::default(),
        }
    }

    /// Makes those wait who try tokens, one after the other.
    pub(super) async fn slow_down(&self) {
        let _turn = self.trying.lock().await;
        tokio::time::sleep(TRY_PAUSE).await;
    }
}

/// All queues that are shown.
#[derive(Debug)]
pub(super) struct Sites {
    pub(super) queues: Vec<Arc<Site>>,
    pub(super) door: Arc<Door>,
    /// The list of them, as it was shown last.
    pub(super) listed: SharedPage,
}

impl Sites {
    pub(super) fn new(runs: Vec<ShownRun>, door: Door) -> Self {
        let door = Arc::new(door);
        let is_one = runs.len() == 1;
        let queues = runs.into_iter().map(|run| {
            let name = (!is_one).then(|| run.name());
            Arc::new(Site::new(run, name, Arc::clone(&door)))
        });
        Sites {
            queues: queues.collect(),
            door,
            listed: SharedPage::default(),
        }
    }
}

/// All that the pages of one queue need.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) run: ShownRun,
    /// Its name, if it is one of several.
    pub(super) name: Option<String>,
    /// The address of its first page, which all of its others begin with.
    pub(super) base: String,
    pub(super) history: Mutex<RateHistory>,
    pub(super) door: Arc<Door>,
    rendered: Mutex<HashMap<PageKey, SharedPage>>,
}

/// A page for all who want it at the same time.
pub(super) type SharedPage = Arc<AsyncMutex<LatestPage>>;

/// Pages that are the same for all who may do the same.
pub(super) type PageKey = (WebPlace, VisitorRole);

/// A page as it was rendered last, if it was.
#[derive(Debug, Default)]
pub(super) struct LatestPage(Option<(Instant, Arc<WebPage>)>);

impl LatestPage {
    /// Returns it, as long as it is fresh.
    pub(super) fn page(&self) -> Option<Arc<WebPage>> {
        let (at, page) = self.0.as_ref()?;
        (at.elapsed() < FRESH).then(|| Arc::clone(page))
    }

    /// Keeps what was rendered just now.
    pub(super) fn keep(&mut self, page: WebPage) -> Arc<WebPage> {
        let (_, page) = self.0.insert((Instant::now(), Arc::new(page)));
        Arc::clone(page)
    }
}

impl Site {
    fn new(run: ShownRun, name: Option<String>, door: Arc<Door>) -> Self {
        let base = match &name {
            Some(name) => format!("/q/{}/", in_path(name)),
            None => "/".into(),
        };
        Site {
            run,
            name,
            base,
            history: Mutex::default(),
            door,
            rendered: Mutex::default(),
        }
    }

    /// Returns the whole address of one of its pages, of which this is the part that follows its base.
    pub(super) fn address(&self, within: &str) -> String {
        format!("{}{}", self.base, within.trim_start_matches('/'))
    }

    /// Returns an address without the base of this queue, if it has that.
    pub(super) fn within<'a>(&self, address: &'a str) -> &'a str {
        let within = address.strip_prefix(self.base.trim_end_matches('/'));
        within.unwrap_or(address)
    }

    /// Forgets what was rendered, because something has changed.
    pub(super) fn has_changed(&self) {
        self.rendered.lock().clear();
    }

    pub(super) fn shared(&self, key: PageKey) -> SharedPage {
        let mut rendered = self.rendered.lock();
        if rendered.len() >= KEPT_MAX && !rendered.contains_key(&key) {
            // Those that somebody renders or waits for are held elsewhere too.
            rendered.retain(|_, shared| Arc::strong_count(shared) > 1);
        }
        Arc::clone(rendered.entry(key).or_default())
    }
}
