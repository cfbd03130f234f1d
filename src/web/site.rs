//! What all pages have in common: the run, who may look, and what was rendered a moment ago.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::auth::{Access, Role, Sessions, Visitor};
use super::frame::Page;
use super::history::History;
use super::routes::Place;
use super::shown::ShownRun;
use crate::control::client::NoAnswer;

/// The time for which a page is shown to others as well, so that many that look at the same thing cost
/// the run as much as one.
const FRESH: Duration = Duration::from_millis(800);

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
    pub(super) history: Mutex<History>,
    rendered: Mutex<HashMap<PageKey, Arc<AsyncMutex<Option<Rendered>>>>>,
    /// Held by whoever has tried a wrong token.
    trying: AsyncMutex<()>,
}

/// Pages that are the same for all who may do the same.
type PageKey = (Place, Role);

#[derive(Debug)]
struct Rendered {
    at: Instant,
    page: Arc<Page>,
}

impl Site {
    pub(super) fn new(path: Arc<Path>, access: Access, address: SocketAddr) -> Self {
        Site {
            run: ShownRun::at(path),
            access,
            sessions: Sessions::default(),
            port: address.port(),
            history: Mutex::default(),
            rendered: Mutex::default(),
            trying: AsyncMutex::default(),
        }
    }

    /// Makes those wait who try tokens, one after the other.
    pub(super) async fn slow_down(&self) {
        let _turn = self.trying.lock().await;
        tokio::time::sleep(TRY_PAUSE).await;
    }

    /// Renders a page, or returns what somebody else was shown just now.
    pub(super) async fn page(
        &self,
        place: &Place,
        visitor: &Visitor,
    ) -> Result<Arc<Page>, NoAnswer> {
        let shared = self.shared((place.clone(), visitor.role));
        // Those who want the same wait for the first of them.
        let mut shared = shared.lock().await;
        if let Some(rendered) = &*shared
            && rendered.at.elapsed() < FRESH
        {
            return Ok(Arc::clone(&rendered.page));
        }
        let page = Arc::new(place.render(self, visitor).await?);
        *shared = Some(Rendered {
            at: Instant::now(),
            page: Arc::clone(&page),
        });
        Ok(page)
    }

    /// Forgets what was rendered, because something has changed.
    pub(super) fn has_changed(&self) {
        self.rendered.lock().clear();
    }

    fn shared(&self, key: PageKey) -> Arc<AsyncMutex<Option<Rendered>>> {
        let mut rendered = self.rendered.lock();
        if rendered.len() >= KEPT_MAX && !rendered.contains_key(&key) {
            // Those that somebody renders or waits for are held elsewhere too.
            rendered.retain(|_, shared| Arc::strong_count(shared) > 1);
        }
        Arc::clone(rendered.entry(key).or_default())
    }
}
