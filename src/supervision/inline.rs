//! Work without workers: the caller of put or join does it. The chapter's first, sequential way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;

use super::pool::Pool;
use super::{PoolStatus, RunState, WorkerInfo};
use crate::broker::current;
use crate::broker::{Attachment, Broker, Core, Deadline, Inline};
use crate::error::Kind;
use crate::handler::attempt::Wanted;
use crate::handler::{copies, held};
use crate::link::inline;
use crate::payload::Payload;
use dishrack_core::ledger::{Credit, HolderId, Outcome};

const NO_WORKERS: &str = "an inline supervisor has no workers: whoever puts or joins does the work";

#[derive(Debug)]
pub(super) struct InlinePool {
    broker: Arc<Broker>,
    holder: Option<HolderId>,
    is_stopped: Arc<AtomicBool>,
}

impl InlinePool {
    pub(super) fn of_handler(
        broker: &Arc<Broker>,
        item_type: &'static str,
        run: impl Fn(&[u8], Wanted) -> Outcome<Payload> + Send + Sync + 'static,
    ) -> Result<Self, Kind> {
        let (link, jobs) = inline::pair();
        let (weak, is_stopped) = (Arc::downgrade(broker), Arc::new(AtomicBool::new(false)));
        let waiting = jobs.clone();
        let drive = move || {
            let Some(broker) = weak.upgrade() else {
                return;
            };
            // A handler that puts is inside this loop already, which goes on with its item later.
            while !current::holds(&broker)
                && let Some(job) = jobs.pop()
            {
                if !broker.begin(job.token) {
                    continue;
                }
                let began = Instant::now();
                current::set(Arc::clone(&broker), item_type);
                let outcome = run(&job.body, Wanted::Here);
                current::clear();
                // The token is stale if the item was cancelled meanwhile.
                let _ = broker.settle(job.token, began.elapsed(), outcome);
            }
        };
        copies::mark();
        broker.set_inline(Inline {
            drive: Box::new(drive),
            has_work: Box::new(move |_| !waiting.is_empty()),
        })?;
        broker.with(|core| core.pool_began(1));
        let thread = std::thread::current();
        let attachment = Attachment {
            uplink: None,
            local: None,
            link: Box::new(link),
            worker: thread.name().unwrap_or("inline").into(),
            pid: std::process::id(),
            stderr: None,
            overseer: None,
        };
        let holder = broker.attach(attachment, Some(Credit::single()), u64::MAX);
        Ok(InlinePool {
            broker: Arc::clone(broker),
            holder: Some(holder),
            is_stopped,
        })
    }

    pub(super) fn of_loop(
        broker: &Arc<Broker>,
        item_type: &'static str,
        run: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, Kind> {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (weak, is_told): (Weak<Broker>, _) = (Arc::downgrade(broker), Arc::clone(&is_stopped));
        let is_over = Arc::clone(&is_stopped);
        let turn = Mutex::new(());
        let drive = move || {
            let Some(broker) = weak.upgrade() else {
                return;
            };
            // A loop that puts is inside this already, and gets the item itself.
            if current::holds(&broker) {
                return;
            }
            // One loop at a time.
            let _turn = turn.lock();
            while !is_told.load(Ordering::Acquire)
                && broker.read(|core| core.dispatcher.ledger.ready()) > 0
            {
                let before = broker.counts();
                current::set(Arc::clone(&broker), item_type);
                // A panic with an item in hand is charged to the item, so this ends in time.
                let outcome = catch_unwind(AssertUnwindSafe(&run));
                copies::end_copy();
                if outcome.is_err() {
                    held::charge_all();
                }
                current::clear();
                // In a pause there was nothing to take.
                let has_passed_by = broker.counts() == before
                    && broker.read(|core| core.dispatcher.ledger.ready()) > 0;
                if has_passed_by && !is_told.swap(true, Ordering::AcqRel) {
                    let why = "the loop ended without taking the items that wait";
                    broker.with(|core| {
                        core.dispatcher.loop_waits(false);
                        core.pool_ended(why, true);
                        core.workers_change(0, 1);
                    });
                }
            }
        };
        let has_work = move |core: &Core| {
            !is_over.load(Ordering::Acquire) && core.dispatcher.ledger.ready() > 0
        };
        copies::mark();
        broker.set_inline(Inline {
            drive: Box::new(drive),
            has_work: Box::new(has_work),
        })?;
        broker.with(|core| {
            core.pool_began(1);
            core.dispatcher.loop_waits(true);
        });
        Ok(InlinePool {
            broker: Arc::clone(broker),
            holder: None,
            is_stopped,
        })
    }
}

impl Pool for InlinePool {
    fn stop(&self) {
        if self.is_stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(holder) = self.holder {
            self.broker.ask_to_stop(holder);
        }
        self.broker.with(|core| {
            if self.holder.is_none() {
                core.dispatcher.loop_waits(false);
            }
            core.pool_ended("it was stopped", false);
            core.workers_change(0, 1);
        });
    }

    fn kill(&self) {
        self.stop();
    }

    fn scale(&self, _: usize, _: Deadline) -> Result<(), Kind> {
        Err(Kind::invalid("scale", NO_WORKERS))
    }

    fn reload(&self, _: Deadline) -> Result<(), Kind> {
        Err(Kind::invalid("reload", NO_WORKERS))
    }

    fn end_worker(&self, _: &str) -> Result<(), Kind> {
        Err(Kind::invalid("end_worker", NO_WORKERS))
    }

    fn replace_worker(&self, _: &str) -> Result<(), Kind> {
        Err(Kind::invalid("replace_worker", NO_WORKERS))
    }

    fn workers(&self) -> Vec<WorkerInfo> {
        Vec::new()
    }

    /// It is over when it was stopped, which nobody waits for.
    fn wait_until_over(&self, _: Deadline) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// There is no worker but whoever puts or joins.
    fn status(&self) -> PoolStatus {
        let is_over = self.is_stopped.load(Ordering::Acquire);
        let restarts = self.broker.read(|core| core.restarts);
        PoolStatus {
            state: if is_over {
                RunState::Over
            } else {
                RunState::Running
            },
            wanted: 1,
            restarts: restarts.accidents(),
            restarts_by: restarts,
            workers: Vec::new(),
            ended: Vec::new(),
        }
    }
}
