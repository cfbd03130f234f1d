//! The ear: while somebody here waits for room, for the end, or for the results of a `map`, it waits
//! for the stream's bell, and has it looked how the stream stands when that has rung.

use super::super::bells::Bells;
use super::super::core::Core;
use super::super::results;
use super::super::{Patience, lock, sleep};
use super::Post;
use crate::store::stream::{Outcome, Standing};

/// The ear's thread.
pub(super) fn run(post: &Post, bells: &Bells) {
    let wait = post.stream.tend_every();
    while let Some(since) = since(post, bells) {
        match post.stream.listen(&since, wait) {
            Ok(outcomes) => post.with(|core| core.heard(outcomes)),
            Err(why) => return post.break_off(why),
        }
    }
}

/// Sleeps until somebody waits, and nothing is known that was not looked at.
fn since(post: &Post, bells: &Bells) -> Option<Standing> {
    let mut core = lock(&post.core);
    loop {
        if core.traffic.is_leaving || core.desk.ledger.is_broken() {
            return None;
        }
        let since = core.desk.to_hear(core.is_awaited());
        if since.is_some() {
            return since;
        }
        core = sleep(&bells.ear, core, Patience::Forever).0;
    }
}

impl Core {
    fn heard(&mut self, outcomes: Vec<Outcome>) {
        for (ticket, outcome) in outcomes {
            let reply = self.traffic.replies.remove(&ticket);
            self.deliver_outcome(reply, || match outcome {
                Ok(result) => results::Outcome::Done(result),
                Err((id, history)) => results::Outcome::Dead(id, history),
            });
        }
        self.desk.ask_look();
    }
}
