//! The supervisors of a stream that were ordered something, until each has done it or is not waited for any
//! more. It does not know what the orders mean.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::store::StoreError;
use crate::store::stream::{EntryId, OrderAnswer, OrderStage, Ordered, Status, Stream};

/// The shortest wait between two looks at who is there.
pub(super) const WAIT_MIN: Duration = Duration::from_millis(50);

/// The result of an order to supervisors.
#[derive(Debug, Default)]
pub(crate) struct Obeyed {
    /// The answers of those that have done it.
    pub(crate) done: Vec<(String, Value)>,
    /// Those that will not do it, and why.
    pub(crate) refused: Vec<(String, String)>,
    /// Those that live and have not heard of it.
    pub(crate) silent: Vec<String>,
    /// Those that were not heard of for longer than the lease, or are gone.
    pub(crate) lost: Vec<String>,
}

/// The times for which a supervisor is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OrderTimes {
    /// Until it says that it has heard of the order.
    pub(crate) hearing: Duration,
    /// Until it has done it; `None` for as long as it lives.
    pub(crate) doing: Option<Duration>,
    /// True if its end is waited for.
    pub(crate) ends: bool,
}

/// Supervisors that have not done what was ordered.
struct UnansweredOrder {
    began: Instant,
    times: OrderTimes,
    /// True for those that have heard of it.
    names: BTreeMap<String, bool>,
    obeyed: Obeyed,
}

impl UnansweredOrder {
    fn handle(&mut self, answer: OrderAnswer) {
        let Some(has_heard) = self.names.get_mut(&answer.by) else {
            return;
        };
        *has_heard = true;
        match answer.stage {
            OrderStage::Heard => return,
            // Its answer comes before its end.
            OrderStage::Done(_) if self.times.ends => return,
            OrderStage::Done(said) => {
                let said = serde_json::from_str(&said).unwrap_or_default();
                self.obeyed.done.push((answer.by.clone(), said));
            }
            OrderStage::Refused(why) => self.obeyed.refused.push((answer.by.clone(), why)),
        }
        self.names.remove(&answer.by);
    }

    /// Looks at who is still there.
    fn look(&mut self, status: &Status) {
        let UnansweredOrder {
            names,
            obeyed,
            times,
            ..
        } = self;
        names.retain(|name, has_heard| {
            match status.supervisors.iter().find(|one| one.name == *name) {
                Some(one) if !status.is_lost(one) => return true,
                None if times.ends && *has_heard => {
                    let said = json!({"stopped": true});
                    obeyed.done.push((name.clone(), said));
                }
                _ => obeyed.lost.push(name.clone()),
            }
            false
        });
    }

    /// Gives those up that have not heard of it in time, or have not done it. Returns the time until
    /// there may be others.
    fn give_up(&mut self) -> Duration {
        let waited = self.began.elapsed();
        let OrderTimes { hearing, doing, .. } = self.times;
        let bound = |has_heard: bool| if has_heard { doing } else { Some(hearing) };
        let obeyed = &mut self.obeyed;
        self.names.retain(|name, has_heard| {
            let has_time = bound(*has_heard).is_none_or(|bound| waited < bound);
            if !has_time {
                obeyed.silent.push(name.clone());
            }
            has_time
        });
        let bounds = self
            .names
            .values()
            .filter_map(|has_heard| bound(*has_heard));
        let next = bounds.min().unwrap_or(Duration::MAX);
        next.saturating_sub(waited)
    }
}

/// Waits until each supervisor that is told has done what was ordered, or is gone, or lost, or its time is
/// over.
pub(super) fn await_answers(
    stream: &dyn Stream,
    ordered: Ordered,
    lease: Duration,
    times: OrderTimes,
) -> Result<Obeyed, StoreError> {
    let mut waiting = UnansweredOrder {
        began: Instant::now(),
        times,
        names: ordered.told.into_iter().map(|name| (name, false)).collect(),
        obeyed: Obeyed::default(),
    };
    let (Some(entry), mut moment) = (ordered.entry, ordered.moment) else {
        return Ok(waiting.obeyed);
    };
    let mut last = EntryId::default();
    loop {
        let wait = waiting.give_up().min(lease / 3).max(WAIT_MIN);
        if waiting.names.is_empty() {
            return Ok(waiting.obeyed);
        }
        let answers;
        (answers, last) = stream.answers(last, &moment, wait)?;
        // The doorbell is asked for its state before that of the supervisors.
        if answers.is_empty() {
            moment = stream.moment()?;
            waiting.look(&stream.status()?);
        }
        for answer in answers.into_iter().filter(|answer| answer.entry == entry) {
            waiting.handle(answer);
        }
    }
}
