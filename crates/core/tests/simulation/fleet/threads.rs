//! The turns of a member's threads. Their decisions are the real code's; MIRRORED is the order of
//! their calls, from `src/broker/stream/` and `src/store/redis/{telling,taking}.rs`.

use dishrack_core::dispatcher::inflight::{
    Answered, FetcherCall, FetcherStep, Maintained, PublisherStep, results_of,
};
use dishrack_core::ledger::{Cancelled, ItemId, Scene};
use dishrack_core::shared::Admission;
use dishrack_core::stream::account::Sorted;
use dishrack_core::stream::entry::{Entry, EntryId, Fields};

use super::line::{Answer, Call, Line};
use super::member::{After, Arrival, Duty, Member, Phase, Stay, Telling, stream_state};
use super::{Fleet, note};
use crate::disk::End;
use crate::envelope::Envelope;
use crate::planted::FleetPlant;
use crate::stream::Said;

/// Converts an entry to an arrival.
fn arrival((id, entry): (ItemId, Entry)) -> Arrival {
    let body = entry.fields.get("item").map(<[u8]>::to_vec);
    let body = body.ok_or_else(|| "it has no item".into());
    entry.arrival(id, body, |body| {
        let text = std::str::from_utf8(body).expect("it is a number");
        Envelope::new(text.parse().expect("it is a number"), None)
    })
}

impl Fleet {
    pub(super) fn publisher_turn(&mut self, at: usize) {
        match self.members[at].publisher.take() {
            None => self.publisher_begins(at),
            Some((mut line, duty)) => match self.advance(at, &mut line) {
                None => self.members[at].publisher = Some((line, duty)),
                Some(answer) => self.publisher_hears(at, duty, answer),
            },
        }
        self.pump(at);
    }

    fn publisher_begins(&mut self, at: usize) {
        let member = &mut self.members[at];
        let is_leaving = member.phase == Phase::Leaving;
        if !member.is_publisher_called && !member.interrupts && !is_leaving {
            return;
        }
        member.is_publisher_called = false;
        let Some(step) = member.dispatcher.next_step() else {
            return match is_leaving {
                true => self.give_all_back(at),
                false => self.interrupt(at),
            };
        };
        // It looks for more before it sleeps.
        member.is_publisher_called = true;
        member.publisher = Some(match step {
            PublisherStep::Refresh(question) => {
                let is_planted = self.plant == Some(FleetPlant::FindAll);
                let question = if is_planted { u64::MAX } else { question };
                (Line::of(Call::Refresh), Duty::Refresh(question))
            }
            PublisherStep::Put(puts) => {
                let (mut told, mut duty) = (Vec::new(), Vec::new());
                // A call has room for only so many.
                for one in puts.iter().take(self.plan.chunk) {
                    let (fields, awaited) = member.entry_of(one);
                    told.push((one.is_beyond_bound, fields));
                    duty.push((one.is_beyond_bound, awaited));
                }
                let call = Call::Put(member.next_call(), told);
                (Line::of(call), Duty::Put(duty))
            }
            PublisherStep::Settle(telling) => {
                let statement = member.account.statement(&telling.records);
                let results = std::mem::take(&mut member.sent);
                let telling = Telling {
                    number: telling.number,
                    retries: telling.retries,
                    sent: results_of(&telling.records, results),
                    records: telling.records,
                    answered: Answered {
                        lost: statement.unknown.clone(),
                        untold: statement.unknown.len() as u64,
                        ..Answered::default()
                    },
                    statement,
                };
                return self.tell(at, telling);
            }
        });
    }

    /// Interrupts the fetcher's wait, if an answer is wanted at once.
    fn interrupt(&mut self, at: usize) {
        let member = &mut self.members[at];
        member.interrupts = member.dispatcher.is_to_interrupt();
        if member.interrupts
            && let Some((line, Stay::Read { .. })) = &mut member.fetcher
        {
            self.coverage.interrupts += 1;
            line.is_interrupted = true;
        }
    }

    fn tell(&mut self, at: usize, telling: Telling) {
        if telling.statement.is_empty() {
            return self.has_told(at, telling);
        }
        let member = &mut self.members[at];
        let statement = &telling.statement;
        let (first, last) = statement.range();
        let outgoing = member.account.outgoing(telling.sent.iter().copied());
        let results = outgoing.into_iter().map(|one| {
            let place = one.reply.map(|reply| (reply.stream, reply.index));
            (one.entry, one.id.0, place, one.result.to_string())
        });
        let dead = statement.dead.iter();
        let said = Said {
            first,
            last,
            retries: telling.retries,
            done: statement.done.clone(),
            failed: statement.failed.clone(),
            dead: dead
                .map(|one| (one.entry, one.id.0, one.cause.clone()))
                .collect(),
            results: results.collect(),
        };
        let call = Call::Settle(member.next_call(), said);
        member.publisher = Some((Line::of(call), Duty::Tell(Box::new(telling))));
    }

    fn has_told(&mut self, at: usize, telling: Telling) {
        let Telling {
            number,
            records,
            answered,
            ..
        } = telling;
        self.coverage.tellings += 1;
        self.coverage.lost_ends += answered.lost.len() as u64;
        let dispatcher = &mut self.members[at].dispatcher;
        dispatcher.settled(number, &records, answered);
    }

    /// Handles the stream's answer to a chunk of puts. A repeated put gets another index.
    fn admitted(&mut self, at: usize, puts: &[(bool, Option<u64>)], admission: Admission) {
        let member = &mut self.members[at];
        let numbers = admission.numbers(puts.iter().map(|put| put.0));
        for ((_, awaited), number) in puts.iter().zip(&numbers) {
            if let (Some(index), None) = (awaited, number) {
                member.replies.remove(index);
            }
        }
        self.coverage.puts_without_room += u64::from(numbers.contains(&None));
        member.dispatcher.admitted(admission);
    }

    fn publisher_hears(&mut self, at: usize, duty: Duty, answer: Answer) {
        let member = &mut self.members[at];
        match (duty, answer) {
            (Duty::Refresh(question), Answer::Refreshed(told, others)) => {
                member
                    .dispatcher
                    .refreshed(question, stream_state(&told), others);
            }
            (Duty::Tell(mut telling), Answer::Settled(lost, told)) => {
                telling.answered.stream_state = stream_state(&told);
                let items = telling.statement.items_of(&lost);
                telling.answered.lost.extend(items);
                member.account.forget_ended(&telling.statement, &lost);
                self.has_told(at, *telling);
            }
            (Duty::Put(puts), Answer::Put(admission)) => self.admitted(at, &puts, admission),
            (Duty::GiveBack, Answer::Released) => self.is_gone(at),
            (duty, answer) => panic!("{duty:?} is answered by {answer:?}"),
        }
    }

    fn give_all_back(&mut self, at: usize) {
        let member = &mut self.members[at];
        let left = member.dispatcher.ledger.unfinished_ids();
        let entries = member.account.entries(&left);
        if entries.is_empty() {
            return self.is_gone(at);
        }
        member.publisher = Some((Line::of(Call::Release(entries)), Duty::GiveBack));
    }

    fn is_gone(&mut self, at: usize) {
        self.coverage.left_in_order += 1;
        let name = self.members[at].name.clone();
        self.stream.leave(&name);
        self.replace(at);
    }

    pub(super) fn fetcher_turn(&mut self, at: usize) {
        match self.members[at].fetcher.take() {
            None => self.fetcher_begins(at),
            Some((mut line, stay)) => match self.advance(at, &mut line) {
                None => self.members[at].fetcher = Some((line, stay)),
                Some(answer) => self.fetcher_hears(at, stay, answer),
            },
        }
        self.pump(at);
    }

    fn fetcher_begins(&mut self, at: usize) {
        let member = &mut self.members[at];
        if member.is_fetcher_asleep || member.phase == Phase::Leaving || member.is_broken() {
            return;
        }
        let appetite = member.dispatcher.ledger.appetite();
        let taking = member.dispatcher.fetcher_step(self.now >= member.due);
        member.fetcher = match taking {
            FetcherStep::Call(FetcherCall::Maintain(count)) => {
                Some((Line::of(Call::Maintain(count)), Stay::Maintain))
            }
            FetcherStep::Call(FetcherCall::GiveBack(ids)) => return self.give_back(at, ids),
            FetcherStep::Nobody => None,
            FetcherStep::Call(FetcherCall::Take {
                count,
                waits,
                question,
            }) => {
                let is_planted = self.plant == Some(FleetPlant::NoAppetite);
                let count = if is_planted { count * 8 } else { count };
                let until = waits.then_some(member.due);
                let stay = Stay::Read { question, appetite };
                Some((Line::of(Call::Read(count, until)), stay))
            }
            FetcherStep::Sleep { renews } => {
                member.is_fetcher_asleep = !renews || self.now < member.due;
                member.wakes_when_due = renews;
                None
            }
        };
    }

    fn give_back(&mut self, at: usize, ids: Vec<ItemId>) {
        let member = &mut self.members[at];
        let entries = member.account.entries(&ids);
        if entries.is_empty() {
            return member.account.forget(&ids);
        }
        self.coverage.given_back += entries.len() as u64;
        let line = Line::of(Call::Release(entries));
        member.fetcher = Some((line, Stay::GiveBack(ids)));
    }

    fn fetcher_hears(&mut self, at: usize, stay: Stay, answer: Answer) {
        let member = &mut self.members[at];
        match (stay, answer) {
            (Stay::Read { question, appetite }, Answer::Read(entries)) => {
                assert!(entries.len() <= appetite, "more is taken than is wanted");
                let sorted = member.account.sort_taken(entries);
                let after = After::Took(question);
                self.admit(at, Vec::new(), sorted, after);
            }
            (Stay::Maintain, Answer::Maintained(mine, taken, others, told)) => {
                member.due = self.now + self.plan.lease / 3;
                self.coverage.taken_over += taken.len() as u64;
                let (lost, unknown) = member.account.compare(&mine);
                self.coverage.lost_to_others += lost.len() as u64;
                self.coverage.found_again += unknown.len() as u64;
                let mut sorted = member.account.sort_known(taken);
                let unknown = unknown.into_iter().map(|id| (id, None));
                sorted.asked.extend(unknown);
                let after = After::Maintained(lost, others, told);
                self.admit(at, Vec::new(), sorted, after);
            }
            (Stay::Adopt(arrivals, after), Answer::Known(entries)) => {
                let sorted = member.account.sort_known(entries);
                self.admit(at, arrivals, sorted, after);
            }
            (Stay::GiveBack(ids), Answer::Released) => member.account.forget(&ids),
            (stay, answer) => panic!("{stay:?} is answered by {answer:?}"),
        }
    }

    /// Admits the entries that are held from now on; asks more about the rest first.
    fn admit(&mut self, at: usize, mut arrivals: Vec<Arrival>, sorted: Sorted, after: After) {
        arrivals.extend(sorted.held.into_iter().map(arrival));
        let member = &mut self.members[at];
        if !sorted.asked.is_empty() {
            self.coverage.adopted += sorted.asked.len() as u64;
            let line = Line::of(Call::Adopt(sorted.asked));
            member.fetcher = Some((line, Stay::Adopt(arrivals, after)));
            return;
        }
        for one in &arrivals {
            self.coverage.condemned += u64::from(one.fault.is_some());
            self.coverage.histories_taken_over += u64::from(!one.item.history.is_empty());
            if one.is_awaited {
                member.awaited.insert(one.item.payload.number);
            }
        }
        match after {
            After::Took(question) => {
                member.dispatcher.took(arrivals, question, self.now);
            }
            After::Maintained(lost, others, told) => {
                let cancelled = member.account.items_of(&told.unwanted);
                let maintained = Maintained {
                    lost,
                    arrivals,
                    others,
                    cancelled: cancelled.clone(),
                    steering: match self.plant {
                        Some(FleetPlant::OlderIgnored)
                            if self.newest_order.number > told.steering.number =>
                        {
                            self.newest_order
                        }
                        _ => told.steering,
                    },
                };
                let surplus = member.dispatcher.maintained(maintained, self.now);
                for id in cancelled {
                    let scene = Scene::ended_at(self.now);
                    let found = member.dispatcher.ledger.handle_cancel(id, scene);
                    self.coverage.cancelled_with_workers +=
                        u64::from(matches!(found, Cancelled::Leased(_)));
                }
                if !surplus.is_empty() {
                    self.give_back(at, surplus);
                }
            }
        }
    }

    pub(super) fn listener_turn(&mut self, at: usize) {
        match self.members[at].listener.take() {
            None => self.listener_begins(at),
            Some(mut line) => match self.advance(at, &mut line) {
                None => self.members[at].listener = Some(line),
                Some(Answer::Heard(replies)) => self.listener_hears(at, replies),
                Some(answer) => panic!("the listener is answered by {answer:?}"),
            },
        }
        self.pump(at);
    }

    fn listener_begins(&mut self, at: usize) {
        let until = self.now + self.plan.lease / 3;
        let member = &mut self.members[at];
        if member.is_listener_asleep || member.phase == Phase::Leaving || member.is_broken() {
            return;
        }
        match member.dispatcher.to_hear(member.is_awaited()) {
            None => member.is_listener_asleep = true,
            Some(since) => {
                let ring = match &*since.ring {
                    "" => EntryId::default(),
                    ring => ring.parse().expect("the stream has said it"),
                };
                member.listener = Some(Line::of(Call::Listen(ring, member.heard, Some(until))));
            }
        }
    }

    fn listener_hears(&mut self, at: usize, replies: Vec<(EntryId, Fields)>) {
        let member = &mut self.members[at];
        for (id, fields) in replies {
            member.heard = id;
            let index = fields.number("index").expect("it was sent");
            // It comes twice when the stream has come back with an older state.
            let Some(number) = member.replies.remove(&index) else {
                continue;
            };
            note!(self, "{}: what came of put {number}", member.name);
            self.coverage.replies += 1;
            let is_done = fields.text("ok") == Some("1");
            if is_done {
                let result = fields.number("result");
                assert_eq!(result, Some(number), "the result of another put");
            }
            let end = if is_done { End::Done } else { End::Dead };
            self.record.replied(number, end);
        }
        member.dispatcher.ask_refresh();
    }

    /// Calls the threads after a change.
    pub(super) fn call_threads(member: &mut Member) {
        let calls = member.dispatcher.calls(member.is_awaited());
        member.is_publisher_called |= calls.publisher;
        member.is_fetcher_asleep &= !calls.fetcher;
        member.is_listener_asleep &= !calls.listener;
    }
}
