//! The turns of clients: programs that come, put, get and leave, and the threads that serve them.
//! MIRRORED from `src/broker/clients.rs`: what a word is told to the dispatcher as, and the end of a
//! connection, which is heard when all words before it were.

use std::time::Duration;

use dishrack_core::dispatcher::{Departure, Request};
use dishrack_core::ledger::{HolderId, Refusal, Scene, Token};

use super::{World, note};
use crate::client::{Client, Frame, ProgramEnd, Said, Sight};
use crate::dispatcher::{Outcome, Reply};
use crate::planted::Plant;
use crate::process::{Job, Surroundings};

impl World {
    /// Gives one client a turn, or lets another one come.
    pub(super) fn clients_turn(&mut self) {
        let (here, most) = (self.life.clients.len(), self.plan.clients);
        if here < most && !self.is_calm && self.fates.below(12) == 0 {
            let holder = self.life.dispatcher.client_came();
            note!(self, "a client comes: {holder:?}");
            self.coverage.clients_came += 1;
            self.life.clients.push(Client::new(holder));
        } else if here > 0 {
            let index = self.fates.index(here);
            self.client_turn(index);
        }
    }

    pub(super) fn client_turn(&mut self, index: usize) {
        let client = &self.life.clients[index];
        match self.fates.below(7) {
            0..2 => self.hear_client(index),
            2..4 => {
                let notes_parts = !self.is_planted(Plant::PartUnnoticed);
                let (mut around, client) = self.around_client(index);
                client.send(&mut around, notes_parts);
            }
            _ if client.is_alive() => self.program_turn(index),
            _ => self.hear_client(index),
        }
    }

    fn around_client(&mut self, index: usize) -> (Surroundings<'_>, &mut Client) {
        let around = Surroundings {
            chance: &mut self.fates,
            rates: &self.rates,
            coverage: &mut self.coverage,
            truth: &mut self.truth,
            now: self.now,
            step: self.step,
            is_calm: self.is_calm,
            is_paused: false,
            is_voting: false,
        };
        (around, &mut self.life.clients[index])
    }

    fn program_turn(&mut self, index: usize) {
        let is_killed = !self.is_calm && self.fates.permille(self.rates.client_kill);
        let end = match is_killed {
            true => Some(ProgramEnd::Crashed),
            false => {
                let (mut around, client) = self.around_client(index);
                client.step(&mut around)
            }
        };
        if let Some(end) = end {
            let client = &mut self.life.clients[index];
            client.end();
            note!(self, "client {:?}: {end:?}", client.holder);
            match end {
                ProgramEnd::Crashed => self.coverage.clients_crashed += 1,
                ProgramEnd::InOrder => self.coverage.clients_ended += 1,
            }
        }
    }

    /// Hears one word of a client, or the end of its connection behind the last one.
    fn hear_client(&mut self, index: usize) {
        let client = &mut self.life.clients[index];
        let is_alive = client.is_alive();
        let is_deaf = self.plant == Some(Plant::LastWordsUnheard) && !is_alive;
        let said = match is_deaf {
            true => None,
            false => client.said.pop_front(),
        };
        match said {
            Some(said) => {
                self.coverage.words_of_dead_clients += u64::from(!is_alive);
                let holder = client.holder;
                self.hear_word(index, holder, said);
            }
            None if is_alive => {}
            None => self.client_left(index),
        }
    }

    fn hear_word(&mut self, index: usize, holder: HolderId, said: Said) {
        note!(self, "client {holder:?}: {said:?}");
        let request = |number| Request { holder, number };
        self.tell_time();
        let dispatcher = &mut self.life.dispatcher;
        match said {
            Said::Put(number, envelope, waits) => {
                dispatcher.ask(request(number), envelope, waits);
            }
            Said::Get(number, at_most, waits) => {
                dispatcher.ask_get(request(number), at_most, waits);
            }
            Said::Cancel(number) => dispatcher.cancel(request(number)),
            Said::Stopping => {
                self.coverage.clients_stopped += 1;
                self.life.clients[index].is_asked_to_end = true;
                dispatcher.stop(holder);
            }
            Said::Settled(job, outcome) => {
                let is_its_own = self.settle_alone(job, outcome);
                let is_revoked = self.truth.is_revoked(job.token);
                assert!(is_its_own || is_revoked, "refused, and was never lost");
            }
            Said::DoneRun(jobs) => self.settle_run(holder, &jobs),
        }
    }

    /// Ends deliveries as done: together, or one by one where somebody is told of each.
    fn settle_run(&mut self, holder: HolderId, jobs: &[Job]) {
        self.coverage.done_in_runs += jobs.len() as u64;
        if self.fates.below(2) == 0 {
            for job in jobs {
                let is_its_own = self.settle_alone(*job, Outcome::Done(job.number));
                assert!(is_its_own || self.truth.is_revoked(job.token), "refused");
            }
            return;
        }
        let (Some(first), Some(last)) = (jobs.first(), jobs.last()) else {
            return;
        };
        let run = first.ordinal..=last.ordinal;
        let ledger = &mut self.life.dispatcher.ledger;
        let late = ledger.handle_done_run(holder, run, Duration::from_micros(5));
        for job in jobs {
            match late.contains(&job.ordinal) {
                true => assert!(self.truth.is_revoked(job.token), "refused"),
                false => self.truth.ended_quietly(job.number),
            }
        }
    }

    /// Notes the end of a connection: what its client had begun is charged, and the rest goes back.
    fn client_left(&mut self, index: usize) {
        let client = self.life.clients.remove(index);
        if self.is_planted(Plant::ClientNotMissed) {
            return;
        }
        let holder = client.holder;
        let departure = match client.is_asked_to_end || self.is_planted(Plant::ClientUncharged) {
            true => Departure::Asked,
            false => Departure::Gone {
                taken: self.taken_of(&client),
            },
        };
        let charged = self.charges_of(&client, departure);
        note!(
            self,
            "client {holder:?} has left: {departure:?}, {charged:?}"
        );
        for number in charged {
            self.truth.failed(number);
        }
        let (scene, now) = (Scene::default(), self.now);
        let dispatcher = &mut self.life.dispatcher;
        if dispatcher.client_left(holder, departure, scene, now) {
            self.coverage.clients_left_nobody += 1;
            dispatcher.ledger.handle_unstoppable(now);
        }
    }

    fn taken_of(&self, client: &Client) -> u64 {
        match self.is_planted(Plant::UnsentCharged) {
            true => self.all_of(client.holder).begun,
            false => client.sent.begun_up_to(client.has_left_unread),
        }
    }

    /// Returns the numbers of the items that are charged to a client, which must be all that it had
    /// begun, and none that it cannot have seen.
    fn charges_of(&mut self, client: &Client, departure: Departure) -> Vec<u64> {
        let (holder, mut charged) = (client.holder, Vec::new());
        let last = self.all_of(holder).begun;
        for ordinal in 1..=last {
            let ledger = &self.life.dispatcher.ledger;
            let Some(payload) = ledger.payload(Token::of(holder, ordinal)) else {
                continue;
            };
            let (number, sight) = (payload.number, client.sight(ordinal));
            let is_charged = match departure {
                Departure::Gone { taken } => ordinal <= taken,
                Departure::Asked => false,
            };
            let is_excused = client.is_asked_to_end;
            assert!(
                is_charged || is_excused || sight != Sight::Begun,
                "put {number} was begun, and nobody is charged"
            );
            assert!(
                !is_charged || sight != Sight::Unseen,
                "put {number} is charged, and was never seen"
            );
            match (is_charged, sight) {
                (true, _) => self.coverage.charged_to_clients += 1,
                (false, Sight::Unseen) => self.coverage.unseen_by_clients += 1,
                (false, _) => self.coverage.excused_clients_items += 1,
            }
            if is_charged {
                charged.push(number);
            }
        }
        charged
    }

    /// Brings an answer on its way to a client.
    pub(super) fn answer_client(&mut self, index: usize, request: Request, reply: Reply) {
        let number = request.number;
        let frames = match reply {
            Reply::Items(items) => {
                assert!(!self.life.is_pause_told, "handed out in a pause");
                self.coverage.deliveries_to_clients += items.len() as u64;
                self.coverage.clients_answers_of_many += u64::from(items.len() > 1);
                let last = items.last().map(|handed| handed.ordinal);
                let frame = |world: &mut World, handed| {
                    let job = world.note_handed(handed);
                    Frame::Item(job, Some(job.ordinal) == last)
                };
                items.iter().map(|handed| frame(self, handed)).collect()
            }
            Reply::Accepted(_) => vec![Frame::Accepted(number)],
            Reply::Refused(refusal) => {
                let is_full = matches!(refusal, Refusal::Full);
                self.coverage.puts_of_clients_refused += u64::from(is_full);
                vec![Frame::Refused(number, refusal)]
            }
            Reply::Joined(..) | Reply::State => panic!("nobody asked for it"),
            Reply::Ahead => panic!("a client has nothing in advance"),
        };
        let client = &mut self.life.clients[index];
        frames.into_iter().for_each(|frame| client.push(frame));
    }
}
