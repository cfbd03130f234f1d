//! The clerk: tells the stream what happened here, puts what is to be put, and looks how it stands.
//!
//! One thing at a time, each for all that came meanwhile, so that many ends and puts share one call.
//! It sleeps while there is nothing to tell.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::super::core::Core;
use super::super::desk::{Refused, Reply};
use super::Post;
use crate::fail;
use crate::ledger::{Fate, ItemId, Record};
use crate::store::stream::{Answered, Exchange, Put, Standing};

/// Puts that are told in one go.
const PUTS_MAX: usize = 4096;

/// A wait that is to end is ended again after this: the word may have come before it began.
const AGAIN: Duration = Duration::from_millis(20);

/// What is to be done next.
enum Errand {
    /// Fetch so many numbers.
    Reserve(u64),
    /// Tell this: the ledger's write of this number, and puts.
    Tell(u64, Exchange),
    /// Look how the stream stands, for all questions up to this one.
    Look(u64),
}

/// The clerk's thread.
pub(super) fn run(post: &Post, calls: &Receiver<()>) {
    let mut interrupts = false;
    loop {
        let called = match interrupts {
            true => calls.recv_timeout(AGAIN),
            false => calls.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if called == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        tell_all(post);
        interrupts = post.with(|core| core.is_to_interrupt());
        if interrupts {
            post.stream.interrupt();
        }
    }
}

/// Tells until there is nothing left to tell.
pub(super) fn tell_all(post: &Post) {
    while let Some(errand) = post.with(Core::next_errand) {
        let done = match errand {
            Errand::Reserve(count) => {
                let first = post.stream.reserve(count);
                first.map(|first| post.with(|core| core.reserved(first, count)))
            }
            Errand::Tell(number, exchange) => {
                fail::point("exchange: begin");
                let answered = post.stream.exchange(&exchange);
                fail::point("exchange: durable, not told");
                answered.map(|answered| {
                    post.with(|core| core.exchanged(number, &exchange.records, answered));
                })
            }
            Errand::Look(question) => post.stream.look().map(|(standing, others)| {
                post.with(|core| core.looked(question, standing, others));
            }),
        };
        if let Err(why) = done {
            post.break_off(why);
            return;
        }
    }
}

impl Core {
    fn is_to_interrupt(&mut self) -> bool {
        let is_taking = self.traffic.is_taking;
        let shared = self.shared();
        is_taking && shared.is_some_and(|shared| shared.glances.is_asked())
    }

    fn next_errand(&mut self) -> Option<Errand> {
        if self.desk.ledger.is_broken() {
            return None;
        }
        if let Some(count) = self.shared()?.wants_numbers() {
            return Some(Errand::Reserve(count));
        }
        let write = self.desk.ledger.poll_write();
        let puts = self.shared()?.poll_puts(PUTS_MAX);
        if write.is_some() || !puts.is_empty() {
            let (number, records) = write.map_or((0, Vec::new()), |w| (w.number, w.records));
            let failed = records
                .iter()
                .filter(|one| matches!(one, Record::Failed { .. }));
            let dead = records
                .iter()
                .filter(|one| matches!(one, Record::Dead { .. }));
            let exchange = Exchange {
                retries: (failed.count() - dead.count()) as u64,
                records,
                sent: std::mem::take(&mut self.traffic.sent),
                puts: puts
                    .into_iter()
                    .filter_map(|one| {
                        Some(Put {
                            id: one.id?,
                            reply: self.ticket_of(one.payload.reply()),
                            body: one.payload.body,
                            is_beyond_bound: one.is_beyond_bound,
                        })
                    })
                    .collect(),
            };
            return Some(Errand::Tell(number, exchange));
        }
        let shared = self.shared()?;
        let is_asked = shared.looks.is_asked();
        is_asked.then(|| Errand::Look(shared.looks.begin()))
    }

    fn reserved(&mut self, first: ItemId, count: u64) {
        if let Some(shared) = self.shared() {
            shared.handle_numbers(first, count);
        }
        self.bells.durable.notify_all();
    }

    fn exchanged(
        &mut self,
        number: u64,
        records: &[Record<super::super::Parcel>],
        answered: Answered,
    ) {
        for id in answered.lost {
            let fate = fate_in(records, id);
            self.desk.ledger.handle_lost(id, fate);
        }
        if number > 0 {
            self.desk.ledger.handle_written(number);
        }
        let has_standing = answered.standing != Standing::default();
        let Some(shared) = self.shared() else {
            return;
        };
        if has_standing {
            shared.standing = answered.standing;
        }
        let refused = answered.refusal.map(|why| {
            shared.refusal = why;
            Refused::NotTaken
        });
        let answers = shared.handle_told(answered.admitted, refused);
        for (request, outcome) in answers {
            let reply = match outcome {
                Ok(id) => Reply::Accepted(id),
                Err(refused) => Reply::Refused(refused),
            };
            self.desk.answer(request, reply);
        }
        if self.syncers > 0 {
            self.bells.durable.notify_all();
        }
    }

    fn looked(&mut self, question: u64, standing: Standing, others: u64) {
        if let Some(shared) = self.shared() {
            shared.handle_ring();
            shared.standing = standing;
            shared.others = others;
            shared.looks.answer(question);
        }
        self.bells.settled.notify_all();
        self.bells.durable.notify_all();
    }
}

/// What a write said of an item.
fn fate_in<P>(records: &[Record<P>], id: ItemId) -> Fate {
    let fate = |record: &Record<P>| match record {
        Record::Done { id: one } if *one == id => Some(Fate::Done),
        Record::Dead { id: one, .. } if *one == id => Some(Fate::Dead),
        _ => None,
    };
    records.iter().find_map(fate).unwrap_or(Fate::Open)
}
