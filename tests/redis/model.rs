//! Checks the simulator's model of the stream: random calls of the scripts, on a real server and on
//! the model, get the same answers and leave the same state.
//!
//! A server names entries by its own clock. So entries are compared by their places among all,
//! because both worlds add them in the same order.

#[path = "../../crates/core/tests/simulation/chance.rs"]
#[allow(dead_code, reason = "the simulator uses the rest")]
mod chance;
#[path = "../../crates/core/tests/simulation/stream.rs"]
#[allow(dead_code, reason = "the simulator uses the rest")]
mod stream;

use std::collections::BTreeMap;

use dishrack_core::stream::account::Statement;
use dishrack_core::stream::entry::{Entry, EntryId, Fields};

use self::chance::Chance;
use self::stream::{Said, Stream, Told, fields};
use crate::redis_server::Server;
use crate::resp::{Client, Frame};

crate::timely_trials! {
    the_scripts_do_what_the_model_does,
}

/// The number of streams, unless `SEEDS` gives another, and of calls for each.
const SEEDS: u64 = 40;
const CALLS: u64 = 120;

/// Longer than any test, because consumers are made idle explicitly.
const LEASE: u64 = 1_000_000;

/// The beginning of each script.
const ADDED: &str = include_str!("../../src/store/redis/scripts/added.lua");
/// The beginning of all but the one that opens a stream.
const PRELUDE: &str = include_str!("../../src/store/redis/scripts/prelude.lua");

macro_rules! script {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../src/store/redis/scripts/", $name, ".lua")),
        )
    };
}

fn the_scripts_do_what_the_model_does() {
    let server = Server::plain();
    let seeds = std::env::var("SEEDS").map_or(SEEDS, |text| text.parse().expect("a number"));
    for seed in 1..=seeds {
        let mut both = Both::begin(&server, seed);
        for step in 0..CALLS {
            both.step = format!("seed {seed}, step {step}");
            both.turn();
            both.compare();
        }
    }
}

/// A supervisor, as a source of numbered calls.
#[derive(Default)]
struct Caller {
    calls: u64,
    put: Option<(u64, Vec<(bool, Fields)>)>,
    settled: Option<(u64, Said)>,
}

/// The same stream twice.
struct Both {
    real: Client,
    model: Stream,
    chance: Chance,
    step: String,
    name: String,
    bound: Option<u64>,
    callers: BTreeMap<String, Caller>,
    /// The server's names of entries.
    names: BTreeMap<EntryId, String>,
    letters: BTreeMap<EntryId, String>,
    rings: (EntryId, String),
    items: u64,
}

fn list(frame: Frame) -> Vec<Frame> {
    match frame {
        Frame::List(all) => all,
        Frame::Nil => Vec::new(),
        other => panic!("no list: {other:?}"),
    }
}

fn text(frame: Frame) -> String {
    match frame {
        Frame::Text(text) => text,
        Frame::Number(number) => number.to_string(),
        other => panic!("no text: {other:?}"),
    }
}

fn number(frame: Frame) -> u64 {
    text(frame).parse().expect("a number")
}

fn texts(frame: Frame) -> Vec<String> {
    list(frame).into_iter().map(text).collect()
}

/// Returns names and values, one after the other.
fn flat(fields: &Fields) -> Vec<String> {
    let all = fields.0.iter().flat_map(|(name, value)| [name, value]);
    all.map(|bytes| String::from_utf8(bytes.clone()).expect("a text"))
        .collect()
}

impl Both {
    fn begin(server: &Server, seed: u64) -> Self {
        let mut chance = Chance::of_seed(seed);
        let name = format!("jobs{seed}");
        let bound = (chance.below(2) == 0).then(|| 1 + chance.below(4));
        let mut model = Stream::with(None);
        model.clock = 100 * LEASE;
        let mut both = Both {
            real: Client::connect(server.port()).expect("it listens"),
            model,
            chance,
            step: String::new(),
            name,
            bound,
            callers: BTreeMap::new(),
            names: BTreeMap::new(),
            letters: BTreeMap::new(),
            rings: (EntryId::default(), "0-0".into()),
            items: 0,
        };
        for mark in ["first", "second"] {
            let lease = LEASE.to_string();
            let (_, source) = script!("open");
            let told = texts_or_none(both.eval("", source, "-", &[mark, "T", &lease]));
            let (born, kind, lease, changes) = both.model.open(mark, "T", LEASE);
            let changes = changes.map(|changes| changes.to_string());
            let expected = [Some(born), Some(kind), Some(lease.to_string()), changes];
            assert_eq!(told, expected);
        }
        for client in ["c0", "c1", "c2"] {
            both.maintain(client);
        }
        both
    }

    fn key(&self, what: &str) -> String {
        format!("{{{}}}:{what}", self.name)
    }

    /// Runs a script for a client. The first argument of all but the first script is the mark.
    fn eval(&mut self, prelude: &str, source: &str, client: &str, arguments: &[&str]) -> Frame {
        let text = format!("{ADDED}{prelude}{source}");
        let keys = ["meta", "past", "dead", "bell", "numbers", "results"];
        let mut all = vec!["EVAL".to_owned(), text, "10".into(), self.name.clone()];
        all.extend(keys.map(|what| self.key(what)));
        all.push(self.key(&format!("memo:{client}")));
        all.extend(["orders", "marked"].map(|what| self.key(what)));
        all.extend(arguments.iter().map(|one| (*one).to_owned()));
        let words: Vec<&str> = all.iter().map(String::as_str).collect();
        let answer = self.real.call(&words).expect("it answers");
        if let Frame::Error(why) = &answer {
            panic!("{}: {why}", self.step);
        }
        answer
    }

    fn run(&mut self, script: (&str, &str), client: &str, arguments: &[String]) -> Vec<Frame> {
        self.step = format!("{}, {} by {client} {arguments:?}", self.step, script.0);
        let mut all = vec!["first"];
        all.extend(arguments.iter().map(String::as_str));
        match self.eval(PRELUDE, script.1, client, &all) {
            Frame::List(all) => all,
            one => vec![one],
        }
    }

    fn command(&mut self, words: &[&str]) -> Frame {
        self.real.call(words).expect("it answers")
    }

    /// Returns the server's name of an entry.
    fn real(&self, id: EntryId) -> String {
        let name = self.names.get(&id);
        name.cloned().unwrap_or_else(|| "0-1".into())
    }

    fn check_told(&mut self, real: Frame, model: &Told) {
        let mut real = texts(real);
        let gone = real.pop().expect("what is gone is last");
        assert_eq!(gone, "0", "{}: nobody deletes by hand", self.step);
        let ring = real.pop().expect("the ring is before it");
        let expected = [
            model.unfinished,
            model.pending,
            model.done,
            model.dead,
            model.retries,
            model.refused,
            model.changes,
        ];
        let expected = expected.map(|number| number.to_string());
        assert_eq!(real, expected, "{}", self.step);
        let (has_rung, rings) = (ring != self.rings.1, model.ring != self.rings.0);
        assert_eq!(has_rung, rings, "{}: the bell", self.step);
        self.rings = (model.ring, ring);
    }

    fn check_known(&mut self, real: Frame, model: &[Entry]) {
        let real = list(real);
        assert_eq!(real.len(), model.len(), "{}", self.step);
        for (real, model) in real.into_iter().zip(model) {
            let [id, values, deliveries, given, history] =
                list(real).try_into().expect("five of them");
            assert_eq!(text(id), self.real(model.id), "{}", self.step);
            assert_eq!(texts(values), flat(&model.fields));
            assert_eq!(number(deliveries), model.deliveries, "{}", self.step);
            let number = model.number.map_or(String::new(), |one| one.to_string());
            assert_eq!(
                (text(given), text(history)),
                (number, model.history.clone())
            );
        }
    }

    fn check_ids(&self, real: Frame, model: &[EntryId]) {
        let model: Vec<String> = model.iter().map(|id| self.real(*id)).collect();
        assert_eq!(texts(real), model, "{}", self.step);
    }

    fn turn(&mut self) {
        let client = format!("c{}", self.chance.below(3));
        match self.chance.below(100) {
            0..25 => self.put(&client),
            25..42 => self.read(&client),
            42..59 => self.settle(&client),
            59..62 => self.settle_beside_a_stranded_one(&client),
            62..65 => self.settle_all(&client),
            65..73 => self.maintain(&client),
            73..80 => self.adopt(&client),
            80..85 => self.release(&client),
            85..90 => self.revive(&client),
            90..92 => self.refresh(&client),
            92..94 => self.leave(&client),
            94..96 => self.cancel(&client),
            96 => self.order(&client),
            _ => self.age(),
        }
    }

    /// Returns the number of a call: a new one, the last one again, or an older one.
    fn call_of(&mut self, client: &str) -> (u64, bool) {
        let repeats = self.chance.below(6);
        let caller = self.callers.entry(client.into()).or_default();
        match repeats {
            0 if caller.calls > 1 => (caller.calls, true),
            1 if caller.calls > 2 => (caller.calls - 1, true),
            _ => {
                caller.calls += 1;
                (caller.calls, false)
            }
        }
    }

    fn put(&mut self, client: &str) {
        let (mut call, repeats) = self.call_of(client);
        let mut puts: Vec<(bool, Fields)> = Vec::new();
        // A call gives its entries names that follow each other.
        let most = self.chance.pick(&[3, 3, 3, 12]);
        for _ in 0..1 + self.chance.below(most) {
            self.items += 1;
            let (item, n) = (format!("item {}", self.items), self.items.to_string());
            let place = self.key("replies:c0");
            let mut all = vec![("item", &*item)];
            if self.chance.below(3) == 0 {
                all.extend([("reply", &*place), ("index", &*n)]);
            }
            puts.push((self.chance.below(4) == 0, fields(&all)));
        }
        let caller = self.callers.entry(client.into()).or_default();
        if let (true, Some(before)) = (repeats, &caller.put) {
            (call, puts) = before.clone();
        }
        caller.put = Some((call, puts.clone()));
        let bound = self.bound.map_or("-1".into(), |bound| bound.to_string());
        let mut arguments = vec![call.to_string(), bound, puts.len().to_string()];
        arguments.extend(self.words_of_puts(&puts));
        let real = self.run(script!("put"), client, &arguments);
        let [admitted, first, told] = real.try_into().expect("three of them");
        let (expected, model) = self.model.put(client, call, self.bound, &puts);
        let real = (number(admitted), number(first));
        assert_eq!(real, expected, "{}", self.step);
        self.check_told(told, &model);
    }

    /// Returns the last arguments of `put.lua`. What may be said once for all of them is, mostly.
    fn words_of_puts(&mut self, puts: &[(bool, Fields)]) -> Vec<String> {
        let names = |fields: &Fields| {
            let names = fields.0.iter().map(|(name, _)| name.clone());
            names.collect::<Vec<_>>()
        };
        let (may_exceed, fields) = &puts[0];
        let are_alike = puts
            .iter()
            .all(|(may, one)| may == may_exceed && names(one) == names(fields));
        if are_alike && self.chance.below(4) > 0 {
            let mut words = vec![fields.0.len().to_string()];
            words.extend(flat(fields).into_iter().step_by(2));
            words.push(u8::from(*may_exceed).to_string());
            let values = puts.iter().flat_map(|(_, fields)| flat(fields));
            // Each has as many values as names.
            words.extend(values.skip(1).step_by(2));
            return words;
        }
        let mut words = vec!["0".to_owned()];
        for (may_exceed, fields) in puts {
            let values = flat(fields);
            words.push(u8::from(*may_exceed).to_string());
            words.push(values.len().to_string());
            words.extend(values);
        }
        words
    }

    fn read(&mut self, client: &str) {
        let most = self.chance.pick(&[4, 4, 16]);
        let count = 1 + self.chance.index(most);
        let (name, text_count) = (self.name.clone(), count.to_string());
        self.step = format!("{}, {client} reads {count}", self.step);
        let words = [
            "XREADGROUP",
            "GROUP",
            "dishrack",
            client,
            "COUNT",
            &text_count,
            "STREAMS",
            &name,
            ">",
        ];
        let mut real = list(self.command(&words));
        let model = self.model.read(client, count);
        let real = match real.pop() {
            None => Vec::new(),
            Some(stream) => list(list(stream).pop().expect("its entries")),
        };
        assert_eq!(real.len(), model.len(), "{}", self.step);
        for (real, model) in real.into_iter().zip(&model) {
            let [id, values] = list(real).try_into().expect("two of them");
            assert_eq!(text(id), self.real(model.id), "{}", self.step);
            assert_eq!(texts(values), flat(&model.fields));
        }
        let real = Frame::List(self.run(script!("tick"), client, &[]));
        let model = self.model.tick();
        self.check_told(real, &model);
    }

    /// Returns some different entries, most of them this client's.
    fn some_entries(&mut self, client: &str) -> Vec<EntryId> {
        let pending = self.model.pending.iter();
        let its = pending.filter(|(_, claim)| claim.owner == client);
        let its: Vec<EntryId> = its.map(|(id, _)| *id).collect();
        let all: Vec<EntryId> = self.names.keys().copied().collect();
        let mut some = Vec::new();
        for _ in 0..1 + self.chance.below(4) {
            let from = if self.chance.below(4) > 0 { &its } else { &all };
            if !from.is_empty() {
                some.push(self.chance.pick(from));
            }
        }
        some.sort_unstable();
        some.dedup();
        some
    }

    fn settle(&mut self, client: &str) {
        let (mut call, repeats) = self.call_of(client);
        let entries = self.some_entries(client);
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return;
        };
        let mut said = Said {
            first: *first,
            last: *last,
            retries: self.chance.below(3),
            ..Said::default()
        };
        for id in entries {
            let failure = format!("{{\"attempt\":{}}}", self.chance.below(5));
            match self.chance.below(4) {
                0 => said.failed.push((id, failure)),
                1 => {
                    said.failed.push((id, failure));
                    said.dead.push((id, 7, "it broke".into()));
                }
                _ => {
                    said.done.push(id);
                    let place = (self.key("replies:c0"), 3);
                    let place = (self.chance.below(2) == 0).then_some(place);
                    said.results.push((id, 7, place, "well done".into()));
                }
            }
        }
        let caller = self.callers.entry(client.into()).or_default();
        if let (true, Some(before)) = (repeats, &caller.settled) {
            (call, said) = before.clone();
        }
        self.tell(client, call, said);
    }

    /// Tells of entries that they are done, and nothing else.
    fn settle_plainly(&mut self, client: &str, done: Vec<EntryId>) {
        let (Some(first), Some(last)) = (done.first(), done.last()) else {
            return;
        };
        let said = Said {
            first: *first,
            last: *last,
            done,
            ..Said::default()
        };
        let caller = self.callers.entry(client.into()).or_default();
        caller.calls += 1;
        let call = caller.calls;
        self.tell(client, call, said);
    }

    /// Tells that all is done that a client has; perhaps also one that it has not.
    fn settle_all(&mut self, client: &str) {
        let pending = self.model.pending.iter();
        let its = pending.filter(|(_, claim)| claim.owner == client);
        let mut done: Vec<EntryId> = its.map(|(id, _)| *id).collect();
        match self.chance.below(4) {
            0 => done.extend(self.some_entries(client)),
            1 => done.truncate(1 + self.chance.index(8)),
            _ => {}
        }
        done.sort_unstable();
        done.dedup();
        self.settle_plainly(client, done);
    }

    /// The same beside an entry that somebody has acknowledged by hand: it is nobody's, and stays.
    fn settle_beside_a_stranded_one(&mut self, client: &str) {
        let pending = self.model.pending.keys();
        let all: Vec<EntryId> = pending.copied().collect();
        if all.is_empty() {
            return;
        }
        let id = self.chance.pick(&all);
        let claim = self.model.pending.remove(&id).expect("it is there");
        let (name, real) = (self.name.clone(), self.real(id));
        assert_eq!(number(self.command(&["XACK", &name, "dishrack", &real])), 1);
        self.step += &format!(", {real} is nobody's");
        self.settle_all(client);
        self.compare();
        if self.model.entries.contains_key(&id) {
            let count = claim.deliveries.to_string();
            let (owner, at) = (&claim.owner, self.model.clock.saturating_sub(claim.at));
            let at = at.to_string();
            let words = [
                "XCLAIM",
                &name,
                "dishrack",
                owner,
                "0",
                &real,
                "IDLE",
                &at,
                "RETRYCOUNT",
                &count,
                "FORCE",
                "JUSTID",
            ];
            assert_eq!(texts(self.command(&words)), std::slice::from_ref(&real));
            self.model.pending.insert(id, claim);
        }
    }

    fn tell(&mut self, client: &str, call: u64, said: Said) {
        let caller = self.callers.entry(client.into()).or_default();
        caller.settled = Some((call, said.clone()));
        let arguments = self.words_of(call, client, &said);
        let real = self.run(script!("settle"), client, &arguments);
        let [lost, told] = real.try_into().expect("two of them");
        let (expected, model) = self.model.settle(client, call, client, &said);
        self.check_ids(lost, &expected);
        self.check_told(told, &model);
    }

    /// Returns the runs of these entries in the server's names: time, first and last place.
    fn runs_of(&self, done: &[EntryId]) -> Vec<[String; 3]> {
        let mut statement = Statement::default();
        let real = done.iter().map(|id| self.real(*id));
        let real = real.map(|name| name.parse::<EntryId>().expect("an entry's name"));
        statement.done = real.collect();
        let runs = statement.runs().into_iter();
        runs.map(|run| [run.time, run.first, run.last].map(|part| part.to_string()))
            .collect()
    }

    /// Returns the arguments of `settle.lua`. Runs are looked up one by one wherever that may be.
    fn words_of(&self, call: u64, client: &str, said: &Said) -> Vec<String> {
        let mut words = vec![call.to_string(), client.to_owned()];
        words.extend([self.real(said.first), self.real(said.last)]);
        words.push(said.retries.to_string());
        let is_plain = said.failed.is_empty() && said.dead.is_empty() && said.results.is_empty();
        words.push(u8::from(is_plain).to_string());
        let runs = self.runs_of(&said.done);
        words.push(runs.len().to_string());
        words.extend(runs.into_iter().flatten());
        words.push(said.failed.len().to_string());
        for (id, failure) in &said.failed {
            words.extend([self.real(*id), failure.clone()]);
        }
        words.push(said.dead.len().to_string());
        for (id, number, cause) in &said.dead {
            words.extend([self.real(*id), number.to_string(), cause.clone()]);
        }
        words.push(said.results.len().to_string());
        for (id, number, place, result) in &said.results {
            words.extend([self.real(*id), number.to_string()]);
            match place {
                Some((place, index)) => words.extend([place.clone(), index.to_string()]),
                None => words.extend([String::new(), String::new()]),
            }
            words.push(result.clone());
        }
        words.push("-1".into());
        words
    }

    fn maintain(&mut self, client: &str) {
        let wanted = self.chance.index(4);
        let arguments = [client.into(), LEASE.to_string(), wanted.to_string()];
        let real = self.run(script!("maintain"), client, &arguments);
        let [mine, taken, told, others, unwanted, paused] = real.try_into().expect("six of them");
        self.check_ids(unwanted, &self.model.unwanted(client));
        let is_paused = text(paused).ends_with(":1");
        assert_eq!(is_paused, self.model.steered().1, "{}", self.step);
        let expected = self.model.maintain(client, LEASE, wanted);
        self.check_ids(mine, &expected.0);
        self.check_known(taken, &expected.1);
        self.check_told(told, &expected.2);
        assert_eq!(number(others), expected.3, "{}: others", self.step);
    }

    fn adopt(&mut self, client: &str) {
        let mut ids = Vec::new();
        for id in self.some_entries(client) {
            let numbers = [None, Some(0), Some(1 + self.chance.below(5))];
            ids.push((id, self.chance.pick(&numbers)));
        }
        let mut arguments = vec![client.to_owned()];
        for (id, unwanted) in &ids {
            arguments.push(self.real(*id));
            arguments.push(unwanted.map_or(String::new(), |one| one.to_string()));
        }
        let real = Frame::List(self.run(script!("adopt"), client, &arguments));
        let model = self.model.adopt(client, &ids);
        self.check_known(real, &model);
    }

    fn release(&mut self, client: &str) {
        let ids = self.some_entries(client);
        let mut arguments = vec![client.to_owned()];
        arguments.extend(ids.iter().map(|id| self.real(*id)));
        let real = self.run(script!("release"), client, &arguments);
        let [released, told] = real.try_into().expect("two of them");
        let (expected, model) = self.model.release(client, &ids);
        assert_eq!(number(released), expected, "{}", self.step);
        self.check_told(told, &model);
    }

    fn revive(&mut self, client: &str) {
        let all: Vec<EntryId> = self.letters.keys().copied().collect();
        if all.is_empty() {
            return;
        }
        // It may be an entry again already.
        let letter = self.chance.pick(&all);
        let arguments = [self.letters[&letter].clone()];
        let mut real = self.run(script!("revive"), client, &arguments);
        let real = number(real.remove(0)) == 1;
        assert_eq!(real, self.model.revive(letter), "{}", self.step);
    }

    fn refresh(&mut self, client: &str) {
        let arguments = [client.into(), LEASE.to_string()];
        let real = self.run(script!("refresh"), client, &arguments);
        let [told, others] = real.try_into().expect("two of them");
        let (model, expected) = self.model.refresh(client, LEASE);
        self.check_told(told, &model);
        assert_eq!(number(others), expected, "{}: others", self.step);
    }

    /// Lets nobody work on an entry any more, whoever has it.
    fn cancel(&mut self, client: &str) {
        let all: Vec<EntryId> = self.model.entries.keys().copied().collect();
        if all.is_empty() {
            return;
        }
        let id = self.chance.pick(&all);
        let number = self.model.number_of(id).to_string();
        let failure = "{\"attempt\":0}".to_owned();
        let (lease, cause) = (LEASE.to_string(), "cancelled".to_owned());
        let arguments = [number, self.real(id), lease, cause, failure.clone()];
        let source = format!("{}{}", script!("seek").1, script!("cancel").1);
        let mut real = self.run(("cancel", &source), client, &arguments);
        self.model.cancel(id, LEASE, &failure);
        let expected = match self.model.marked.contains_key(&id) {
            true => "ordered",
            false => "ended",
        };
        assert_eq!(text(real.remove(0)), expected, "{}", self.step);
    }

    /// Orders all to pause, or to go on.
    fn order(&mut self, client: &str) {
        let is_paused = self.chance.below(2) == 0;
        let verb = if is_paused { "pause" } else { "resume" };
        let arguments = [client, verb, "", &LEASE.to_string(), ""].map(str::to_owned);
        self.run(script!("order"), client, &arguments);
        self.model.steer(is_paused);
    }

    fn leave(&mut self, client: &str) {
        self.run(script!("leave"), client, &[client.to_owned()]);
        self.model.leave(client);
        // Versions of Redis differ in whether a consumer that gets nothing counts as heard of.
        self.step += ", and it is back";
        self.maintain(client);
    }

    /// Makes the holder of an entry silent for long.
    fn age(&mut self) {
        let all: Vec<EntryId> = self.model.pending.keys().copied().collect();
        if all.is_empty() {
            return;
        }
        let id = self.chance.pick(&all);
        let (name, real) = (self.name.clone(), self.real(id));
        let claim = self.model.pending.get_mut(&id).expect("it is there");
        claim.at -= 2 * LEASE;
        let (owner, idle) = (claim.owner.clone(), (2 * LEASE).to_string());
        let words = [
            "XCLAIM", &name, "dishrack", &owner, "0", &real, "IDLE", &idle, "JUSTID",
        ];
        assert_eq!(texts(self.command(&words)), std::slice::from_ref(&real));
    }

    /// Compares the contents, and learns the names of new entries by their places.
    fn compare(&mut self) {
        let name = self.name.clone();
        let real = list(self.command(&["XRANGE", &name, "-", "+"]));
        let model: Vec<_> = self.model.entries.clone().into_iter().collect();
        self.names.extend(pair(&self.step, real, &model));
        let dead = self.key("dead");
        let real = list(self.command(&["XRANGE", &dead, "-", "+"]));
        let model = self.model.letters.iter().map(|(id, letter)| {
            let (n, attempts) = (letter.number.to_string(), letter.attempts.to_string());
            let mut all = fields(&[
                ("n", &n),
                ("cause", &letter.cause),
                ("attempts", &attempts),
                ("history", &letter.history),
                ("entry", &self.real(letter.entry)),
            ]);
            all.0.extend(letter.fields.0.clone());
            (*id, all)
        });
        let model: Vec<_> = model.collect();
        self.letters.extend(pair(&self.step, real, &model));
        let place = self.key("replies:c0");
        let real = list(self.command(&["XRANGE", &place, "-", "+"]));
        pair(
            &self.step,
            real,
            &self.model.replies(&place, EntryId::default()),
        );
        let real = list(self.command(&["XPENDING", &name, "dishrack", "-", "+", "1000"]));
        let real = real.into_iter().map(|row| {
            let [id, owner, _, deliveries] = list(row).try_into().expect("four of them");
            (text(id), text(owner), number(deliveries))
        });
        let model = self.model.pending.iter().map(|(id, claim)| {
            let owner = claim.owner.clone();
            (self.real(*id), owner, claim.deliveries)
        });
        assert!(real.eq(model), "{}: what is pending", self.step);
    }
}

fn texts_or_none(frame: Frame) -> Vec<Option<String>> {
    let one = |frame| match frame {
        Frame::Nil => None,
        frame => Some(text(frame)),
    };
    list(frame).into_iter().map(one).collect()
}

/// Returns the server's names of the model's entries, if both have the same.
fn pair(step: &str, real: Vec<Frame>, model: &[(EntryId, Fields)]) -> Vec<(EntryId, String)> {
    assert_eq!(real.len(), model.len(), "{step}");
    let pairs = real.into_iter().zip(model).map(|(real, (id, fields))| {
        let [name, values] = list(real).try_into().expect("two of them");
        assert_eq!(texts(values), flat(fields), "{step}");
        (*id, text(name))
    });
    pairs.collect()
}
