//! Orders to this supervisor, as one of those that share a stream: it is to cancel items, to pause, or
//! to do what only the owner of the workers can, who is asked then. Whoever gave the order is told at once
//! that it was heard, and later what has come of it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crossbeam_channel::Receiver;
use parking_lot::Mutex;

use super::super::{Broker, Deadline};
use super::StreamContext;
use crate::error::Kind;
use crate::fail;
use crate::store::stream::{EntryId, OrderStage, StreamOrder};
use crate::sys::threads::{attempt, spawn};

/// The orders that are carried out at a time.
const ORDERS_MAX: usize = 16;

/// The time between two looks whether the queue is still there.
const LOOK: Duration = Duration::from_millis(500);

/// The result of an order, or the result to come, beside the answer to it: something to do after that.
pub(crate) struct OrderOutcome {
    pub(crate) answer: Result<String, String>,
    pub(crate) then: Option<Box<dyn FnOnce() + Send>>,
}

impl fmt::Debug for OrderOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderOutcome")
            .field("answer", &self.answer)
            .finish_non_exhaustive()
    }
}

/// Carries out an order: a verb, and more of it. It may take its time.
pub(crate) type ObeyOrder = Arc<dyn Fn(&str, &str) -> OrderOutcome + Send + Sync>;

/// Where orders are carried out.
pub(super) struct OrderHandler {
    broker: Weak<Broker>,
    obey: Mutex<Option<ObeyOrder>>,
    under_way: AtomicUsize,
}

impl fmt::Debug for OrderHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderHandler").finish_non_exhaustive()
    }
}

impl OrderHandler {
    pub(super) fn new(broker: &Arc<Broker>) -> Self {
        OrderHandler {
            broker: Arc::downgrade(broker),
            obey: Mutex::default(),
            under_way: AtomicUsize::new(0),
        }
    }

    pub(super) fn obey_by(&self, obey: ObeyOrder) {
        *self.obey.lock() = Some(obey);
    }

    /// Waits until nothing more is begun, in a pause that was begun before.
    fn await_pause(&self) -> Result<String, String> {
        loop {
            let Some(broker) = self.broker.upgrade() else {
                return Err("it comes to its end".into());
            };
            match broker.await_pause(Deadline::lasting(LOOK)) {
                Err(Kind::StillBeginning { .. }) => {}
                Err(why) => return Err(why.to_string()),
                Ok(()) => return Ok("{}".into()),
            }
        }
    }

    fn carry_out(&self, order: &StreamOrder) -> OrderOutcome {
        let answer = match &*order.verb {
            "pause" => self.await_pause(),
            "resume" => Ok("{}".into()),
            verb => {
                let obey = self.obey.lock().clone();
                match obey {
                    Some(obey) => return obey(verb, &order.body),
                    None => Err("it is a program that takes no orders about its workers".into()),
                }
            }
        };
        OrderOutcome { answer, then: None }
    }
}

/// Waits for orders until the stream is left. `has_begun`: the supervisor is known to others.
pub(super) fn run(post: &StreamContext, handler: &Arc<OrderHandler>, has_begun: &Receiver<()>) {
    if has_begun.recv().is_err() {
        return;
    }
    let wait = post.stream.maintain_every();
    // Those from before it was known are not for it.
    let mut last = EntryId::default();
    while !post.is_over() {
        match post.stream.orders(last, wait) {
            Ok((orders, place)) => {
                last = place;
                for order in orders {
                    hear(post, handler, order);
                }
            }
            Err(why) => return post.break_off(why),
        }
    }
}

fn hear(post: &StreamContext, handler: &Arc<OrderHandler>, order: StreamOrder) {
    fail::point("orders: taken");
    match &*order.verb {
        "cancel" => return post.with(|core| core.dispatcher.call_fetcher()),
        "pause" | "resume" => {
            post.with(|core| {
                core.dispatcher.handle_steering(order.steering);
                core.ring_for_pauses();
            });
        }
        _ => {}
    }
    if handler.under_way.fetch_add(1, Ordering::AcqRel) >= ORDERS_MAX {
        handler.under_way.fetch_sub(1, Ordering::AcqRel);
        let why = "it is at too many orders already; try again later";
        let _ = post.stream.answer(&order, &OrderStage::Refused(why.into()));
        return;
    }
    let (stream, own) = (Arc::clone(&post.stream), Arc::clone(handler));
    let refused = (Arc::clone(&post.stream), order.clone());
    let carry_out = move || {
        // Who asked may be gone, and answers that cannot be told are nobody's loss.
        let _ = stream.answer(&order, &OrderStage::Heard);
        let outcome = attempt(|| {
            fail::point("orders: heard");
            own.carry_out(&order)
        });
        let OrderOutcome { answer, then } = outcome.unwrap_or_else(|why| OrderOutcome {
            answer: Err(format!("it ended by a bug, please report it: {why}")),
            then: None,
        });
        let stage = match answer {
            Ok(answer) => OrderStage::Done(answer),
            Err(why) => OrderStage::Refused(why),
        };
        fail::point("orders: carried out");
        let _ = stream.answer(&order, &stage);
        fail::point("orders: answered");
        own.under_way.fetch_sub(1, Ordering::AcqRel);
        if let Some(then) = then {
            then();
        }
    };
    if let Err(why) = spawn("order", carry_out) {
        handler.under_way.fetch_sub(1, Ordering::AcqRel);
        let (stream, order) = refused;
        let _ = stream.answer(&order, &OrderStage::Refused(why.to_string()));
    }
}

impl StreamContext {
    /// Returns `true` if the stream is left, or has failed.
    fn is_over(&self) -> bool {
        let core = self.monitor.lock();
        core.traffic.is_leaving || core.dispatcher.ledger.is_broken()
    }
}
