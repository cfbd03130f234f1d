//! The listener: while a caller here waits for room, for the end, or for the results of a `map`, it
//! waits for the stream's doorbell, and asks for the state of the stream when that has rung.

use super::super::Deadline;
use super::super::core::Core;
use super::super::mailboxes::ItemEnd;
use super::super::monitor::sleep;
use super::StreamContext;
use crate::store::stream::{MapEnd, StreamState};

pub(super) fn run(post: &StreamContext) {
    let wait = post.stream.maintain_every();
    while let Some((since, last_put)) = since(post) {
        match post.stream.listen(&since, wait) {
            Ok(outcomes) => post.with(|core| {
                if let (true, Some(last_put)) = (outcomes.is_empty(), last_put) {
                    core.heard_nothing(last_put);
                }
                core.heard(outcomes);
            }),
            Err(why) => return post.break_off(why),
        }
    }
}

/// Sleeps until a caller waits and no question is open. Returns the state of the stream then; and the
/// last put, if all puts until then were told and none was unfinished or taken.
fn since(post: &StreamContext) -> Option<(StreamState, Option<u64>)> {
    let mut core = post.monitor.lock();
    loop {
        if core.traffic.is_leaving || core.dispatcher.ledger.is_broken() {
            return None;
        }
        if let Some(since) = core.dispatcher.to_hear(core.is_awaited()) {
            let is_empty = since.unfinished + since.taken == 0 && core.on_the_way() == 0;
            return Some((since, is_empty.then(|| core.last_ticket())));
        }
        core = sleep(&post.monitor.doorbells.listener, core, Deadline::Forever).0;
    }
}

impl Core {
    fn heard(&mut self, outcomes: Vec<MapEnd>) {
        for (ticket, outcome) in outcomes {
            let reply = self.traffic.replies.remove(&ticket);
            self.mailboxes.deliver(reply, || match outcome {
                Ok(result) => ItemEnd::Done(result),
                Err((id, history)) => ItemEnd::Dead(id, history),
            });
        }
        self.dispatcher.ask_refresh();
    }

    /// Cuts off the maps that wait for results that will not come: nothing was unfinished or taken,
    /// nothing has been put since, and no answer is there. Their items were deleted, or Redis has
    /// lost them.
    fn heard_nothing(&mut self, last_put: u64) {
        if self.last_ticket() == last_put && self.on_the_way() == 0 {
            let replies = std::mem::take(&mut self.traffic.replies);
            self.mailboxes.cut_off(replies.into_values());
        }
    }
}
