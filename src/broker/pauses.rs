//! Pauses: nothing more is handed out, and the caller waits until nothing more is begun.
//!
//! What a worker process has in advance it gives back when it is asked, and says so. That it has
//! begun an item it says only on its scoreboard, which rings nobody. So a caller that waits looks
//! at the scoreboards again and again, for as long as a worker has something that it has neither
//! begun nor given back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::monitor::sleep;
use super::{Broker, Deadline};
use crate::error::Kind;
use crate::fail;
use dishrack_core::ledger::HolderId;

/// The time between two looks at the scoreboards.
const LOOK: Duration = Duration::from_millis(1);

impl Broker {
    /// Hands nothing out from now on, and waits until nothing more is begun.
    pub(crate) fn pause(&self, deadline: Deadline) -> Result<(), Kind> {
        fail::point("pause: begin");
        self.with(|core| core.dispatcher.ledger.handle_pause());
        fail::point("pause: asked");
        let mut core = self.lock_seeing();
        loop {
            if !core.dispatcher.ledger.is_paused() {
                return Err(Kind::Resumed);
            }
            let undecided = core.workers_with_unbegun();
            if undecided.is_empty() {
                fail::point("pause: end");
                return Ok(());
            }
            let now = Instant::now();
            let until = match deadline {
                Deadline::Forever => now + LOOK,
                Deadline::Until(deadline) if now < deadline => deadline.min(now + LOOK),
                Deadline::Until(_) | Deadline::None => {
                    let workers = core.names_of(&undecided).join(", ");
                    return Err(Kind::StillBeginning { workers });
                }
            };
            core = sleep(&self.monitor.doorbells.ends, core, Deadline::Until(until)).0;
            for holder in undecided {
                core.drain_or_end(holder);
            }
            core.pump();
        }
    }

    pub(crate) fn unpause(&self) {
        self.with(|core| {
            core.dispatcher.ledger.handle_unpause();
            core.doorbells.ends.notify_all();
        });
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.lock().dispatcher.ledger.is_paused()
    }
}

impl Core {
    /// Returns the workers that have something which they have neither begun nor given back.
    fn workers_with_unbegun(&self) -> Vec<HolderId> {
        let ledger = &self.dispatcher.ledger;
        let attachments = self.attachments.iter();
        let holding = attachments.filter(|(holder, _)| ledger.held_by(*holder) > 0);
        let undecided = holding.filter(|(holder, _)| {
            let begun = self.begun_by(*holder);
            begun.is_some_and(|begun| ledger.has_unbegun(*holder, begun))
        });
        undecided.map(|(holder, _)| holder).collect()
    }

    /// Returns the last delivery that a worker has ever begun. `None` if it has no scoreboard: then
    /// it has begun all that it has.
    pub(super) fn begun_by(&self, holder: HolderId) -> Option<u64> {
        Some(self.attachments.get(holder)?.board()?.begun())
    }

    fn names_of(&self, holders: &[HolderId]) -> Vec<Arc<str>> {
        let attachments = holders.iter().filter_map(|one| self.attachments.get(*one));
        attachments.map(|one| Arc::clone(&one.worker)).collect()
    }
}
