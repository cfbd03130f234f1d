//! A member's workers and their messages. Their links lose nothing here; the other world
//! (`crate::world`) has links that do.

use std::time::Duration;

use dishrack_core::dispatcher::{Effect, Reply, Request};
use dishrack_core::ledger::{Blame, Cause, Exit, Handed, Notice, Outcome, Refusal, Scene, Started};

use super::member::{Asked, Job, Phase, Word};
use super::{Fleet, note};
use crate::envelope::Envelope;

impl Fleet {
    /// Takes a step of one of its workers.
    pub(super) fn worker_turn(&mut self, at: usize) {
        if self.members[at].workers.is_empty() {
            return;
        }
        let index = self.chance.index(self.members[at].workers.len());
        if self.is_paused(at) {
            return self.work(at, index);
        }
        let is_killed = self.chance.permille(self.rates.kill_worker);
        let is_hung = self.members[at].workers[index].is_hung && self.chance.below(4) == 0;
        match (is_killed, is_hung) {
            (true, _) => self.die(at, index, Cause::WorkerDied(Exit::Signaled(9))),
            (_, true) => self.die(at, index, Cause::TimedOut(Duration::from_millis(50))),
            _ => self.work(at, index),
        }
    }

    fn work(&mut self, at: usize, index: usize) {
        let crashes = !self.is_paused(at) && self.chance.permille(self.rates.crash_in_item);
        let (fails, hangs, puts) = (
            self.chance.permille(self.rates.nack),
            self.chance.permille(self.rates.hang),
            self.chance.permille(self.rates.worker_put) && self.puts_left > 0,
        );
        let worker = &mut self.members[at].workers[index];
        let is_busy = worker.is_asking() || worker.is_hung;
        let Some(job) = worker.running else {
            return self.begin_work(at, index);
        };
        if is_busy {
            return;
        }
        if crashes {
            self.coverage.crashes_in_items += 1;
            return self.die(at, index, Cause::WorkerDied(Exit::Signaled(11)));
        }
        if hangs {
            worker.is_hung = true;
            return;
        }
        if puts {
            self.puts_left -= 1;
            let number = self.record.new_number();
            worker
                .words
                .push_back(Word::Put(Envelope::new(number, None)));
            return;
        }
        worker.running = None;
        worker.board.current = 0;
        worker.words.push_back(match fails {
            true => Word::Failed(job, Cause::Nack("it has a crack".into())),
            false => Word::Done(job),
        });
    }

    fn begin_work(&mut self, at: usize, index: usize) {
        let (waits, joins) = (self.chance.below(2) == 0, self.chance.below(16) == 0);
        let gives_up = self.chance.permille(self.rates.cancel);
        let worker = &mut self.members[at].workers[index];
        if worker.is_stopping {
            let rest = std::mem::take(&mut worker.inbox);
            return worker.words.extend(rest.into_iter().map(Word::Returned));
        }
        // A loop that has asked waits for the answer, and begins nothing of what came in advance meanwhile.
        let next = match worker.is_loop && worker.is_asking() {
            true => None,
            false => worker.inbox.pop_front(),
        };
        if let Some(job) = next {
            worker.running = Some(job);
            worker.board = Started::at(job.ordinal);
        } else if let (true, Some((request, ..))) = (gives_up, worker.waits_for) {
            if worker.words.is_empty() {
                worker.words.push_back(Word::Cancel(request));
            }
        } else if worker.is_loop && !worker.is_asking() {
            worker.words.push_back(match joins {
                true => Word::Join,
                false => Word::Get(waits),
            });
        }
    }

    /// Hears one word of one worker, or buries one that has ended in order.
    pub(super) fn hear_turn(&mut self, at: usize) {
        if self.members[at].workers.is_empty() {
            return;
        }
        let index = self.chance.index(self.members[at].workers.len());
        let worker = &mut self.members[at].workers[index];
        if let Some(word) = worker.words.pop_front() {
            self.hear(at, index, word);
        } else if worker.is_stopping
            && worker.running.is_none()
            && worker.inbox.is_empty()
            // A worker that joins is not waited for.
            && !matches!(worker.waits_for, Some((_, Asked::Item | Asked::Put(_), _)))
        {
            let holder = worker.holder;
            let member = &mut self.members[at];
            member.workers.remove(index);
            let none = Started::default();
            member.dispatcher.detach(holder, none, None, self.now);
        }
        self.pump(at);
    }

    fn hear(&mut self, at: usize, index: usize, word: Word) {
        let member = &mut self.members[at];
        member.requests += 1;
        let request = Request {
            holder: member.workers[index].holder,
            number: member.requests,
        };
        let mut waits_for = |asked| {
            let asked = (request, asked, self.step);
            member.workers[index].waits_for = Some(asked);
        };
        match word {
            Word::Put(envelope) => {
                waits_for(Asked::Put(envelope.number));
                member.dispatcher.ask_put(request, envelope, true);
            }
            Word::Get(waits) => {
                waits_for(Asked::Item);
                let begun = member.workers[index].board.begun;
                member.dispatcher.ledger.handle_begun(request.holder, begun);
                member.dispatcher.ask_get(request, 1, waits);
            }
            Word::Join => {
                waits_for(Asked::End);
                member.dispatcher.ask_join(request, true);
            }
            Word::Cancel(request) => {
                self.coverage.cancelled += 1;
                member.dispatcher.cancel(request);
            }
            Word::Done(job) => self.settle(at, job, None),
            Word::Failed(job, cause) => self.settle(at, job, Some(cause)),
            Word::Returned(job) => {
                if member.dispatcher.is_heard(job.token, true) {
                    let (zero, scene) = (Duration::ZERO, Scene::default());
                    let returned = Outcome::Returned;
                    let settled = member
                        .dispatcher
                        .settle(job.token, zero, returned, scene, self.now);
                    assert_eq!(settled, Ok(()));
                }
            }
        }
    }

    fn settle(&mut self, at: usize, job: Job, cause: Option<Cause>) {
        let member = &mut self.members[at];
        if !member.dispatcher.is_heard(job.token, false) {
            self.coverage.late_words += 1;
            return;
        }
        note!(self, "{}: put {}: {cause:?}", member.name, job.number);
        let (outcome, scene) = match cause {
            Some(cause) => {
                let Blame { cause, scene } = blame(cause, self.now);
                (Outcome::failed(cause), scene)
            }
            None => {
                if member.awaited.contains(&job.number) {
                    member.sent.push((job.id, job.number));
                }
                (Outcome::Done(Some(job.number)), Scene::default())
            }
        };
        let service = Duration::from_micros(job.number % 50 * (job.number % 41));
        let settled = member
            .dispatcher
            .settle(job.token, service, outcome, scene, self.now);
        assert_eq!(settled, Ok(()), "a delivery that was there a moment ago");
    }

    /// Ends a worker: all its words are heard first, and another one takes its place.
    fn die(&mut self, at: usize, index: usize, cause: Cause) {
        note!(self, "{}: worker {index}: {cause}", self.members[at].name);
        self.coverage.worker_deaths += 1;
        while let Some(word) = self.members[at].workers[index].words.pop_front() {
            self.hear(at, index, word);
        }
        let single = self.plan.is_single_credit;
        let member = &mut self.members[at];
        let worker = member.workers.remove(index);
        let blame = blame(cause, self.now);
        member
            .dispatcher
            .detach(worker.holder, worker.board, Some(&blame), self.now);
        if member.phase == Phase::Working {
            member.add_worker(worker.is_loop, single);
        }
        self.pump(at);
    }

    /// Carries out the decisions of a member's dispatcher.
    pub(super) fn pump(&mut self, at: usize) {
        while let Some(said) = self.members[at].dispatcher.poll() {
            match said {
                Effect::Deliver(handed) => self.deliver(at, &handed),
                Effect::Answer(request, reply) => self.reply(at, request, reply),
                Effect::TakeBack(holder) => {
                    let member = &mut self.members[at];
                    let worker = member.workers.iter_mut().find(|one| one.holder == holder);
                    let worker = worker.expect("it has not left");
                    let back = std::mem::take(&mut worker.inbox);
                    worker.words.extend(back.into_iter().map(Word::Returned));
                }
                Effect::Notice(Notice::Paused | Notice::Resumed) => {}
                Effect::Notice(notice) => panic!("nothing is lacking: {notice:?}"),
                Effect::Stop(handed) => panic!("no item has copies: {handed:?}"),
                Effect::Worn(_) => panic!("no worker has a quota"),
                Effect::Report(report) => {
                    self.coverage.reports += 1;
                    self.record.reported(&report);
                }
            }
        }
        let member = &mut self.members[at];
        Self::call_threads(member);
        assert_eq!(member.dispatcher.ledger.check(), Ok(()));
    }

    fn deliver(&mut self, at: usize, handed: &Handed) {
        self.coverage.deliveries += 1;
        let member = &mut self.members[at];
        let payload = member.dispatcher.ledger.payload(handed.token);
        let job = Job {
            token: handed.token,
            ordinal: handed.ordinal,
            id: handed.id,
            number: payload.expect("it is there").number,
        };
        note!(self, "{}: put {} is handed out", member.name, job.number);
        let mut workers = member.workers.iter_mut();
        let worker = workers.find(|one| one.holder == handed.holder);
        worker.expect("it has not left").inbox.push_back(job);
    }

    fn reply(&mut self, at: usize, request: Request, reply: Reply) {
        let member = &mut self.members[at];
        let mut workers = member.workers.iter_mut();
        let Some(worker) = workers.find(|one| one.holder == request.holder) else {
            // Its put was being told when it left.
            return;
        };
        let Some((_, asked, since)) = worker.waits_for.take_if(|(its, ..)| *its == request) else {
            panic!("{request:?} is answered twice");
        };
        match (asked, reply) {
            (Asked::Item, Reply::Items(items)) => self.deliver(at, &items[0]),
            (Asked::Item, Reply::Ahead) => self.coverage.gets_answered_in_advance += 1,
            (Asked::Item, Reply::Refused(Refusal::Empty)) => self.coverage.empty_gets += 1,
            (Asked::Put(number), Reply::Accepted(id)) => {
                self.coverage.puts_of_workers += 1;
                self.record.accepted(number, id);
            }
            (Asked::Put(number), Reply::Refused(Refusal::Full | Refusal::Closed)) => {
                self.record.refused(number);
            }
            (Asked::End, Reply::Joined(..)) => self.joined(at, since, &[]),
            (Asked::End, Reply::Refused(Refusal::TimedOut { .. } | Refusal::WaitsForItself)) => {}
            (
                _,
                Reply::Refused(Refusal::Closed | Refusal::StreamFailed | Refusal::Inconsistent),
            ) => {}
            (asked, reply) => panic!("{asked:?} is answered by {reply:?}"),
        }
    }
}

fn blame(cause: Cause, now: Duration) -> Blame {
    Blame {
        cause,
        scene: Scene::ended_at(now),
    }
}
