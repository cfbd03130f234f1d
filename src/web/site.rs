//! The things that all pages have in common: the run, who may look, and what was rendered a moment ago. It does not
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
use super::place::WebPlace;
use super::shown::ShownRun;

/// The pause after a wrong token.
const TRY_PAUSE: Duration = Duration::from_millis(500);

/// The number of pages that are kept.
const KEPT_MAX: usize = 64;

/// All that pages need.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) run: ShownRun,
    pub(super) access: Access,
    pub(super) sessions: Sessions,
    pub(super) port: u16,
    pub(super) history: Mutex<RateHistory>,
    rendered: Mutex<HashMap<PageKey, SharedPage>>,
    /// Becomes true when the page ends.
    pub(super) ends: watch::Receiver<bool>,
    /// Held by whoever has tried a wrong token.
    trying: AsyncMutex<()>,
}

/// A page for all who want it at the same time.
pub(super) type SharedPage = Arc<AsyncMutex<Option<Rendered>>>;

/// Pages that are the same for all who may do the same.
pub(super) type PageKey = (WebPlace, VisitorRole);

#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) at: Instant,
    pub(super) page: Arc<WebPage>,
}

impl Site {
    pub(super) fn new(
        run: ShownRun,
        access: Access,
        address: SocketAddr,
        ends: watch::Receiver<bool>,
    ) -> Self {
        Site {
            run,
            access,
            sessions: Sessions::default(),
            port: address.port(),
            history: Mutex::default(),
            rendered: Mutex::default(),
            ends,
            trying: AsyncMutex::default(),
        }
    }

    /// Makes those wait who try tokens, one after the other.
    pub(super) async fn slow_down(&self) {
        let _turn = self.trying.lock().await;
        tokio::time::sleep(TRY_PAUSE).await;
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
