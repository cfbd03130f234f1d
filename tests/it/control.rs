//! The control API on a real socket: what clients can ask, and what becomes of the bad and the slow.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use dishrack::{Backoff, Control, Controlled, Options};
use serde_json::{Value, json};

use crate::controlled::Run;
use crate::deadline::DEADLINE;
use crate::http::{ask, ask_with, connect, head, read_answer};

crate::trials! {
    items_are_put_by_lines_of_json,
    a_line_that_is_no_item_is_named_and_nothing_is_put,
    a_repeated_put_with_a_key_puts_nothing_twice,
    a_put_that_waits_for_room_ends_with_its_client,
    a_put_that_was_cut_short_goes_on_when_it_is_repeated,
    a_client_that_is_gone_within_its_body_has_put_nothing,
    a_body_that_is_too_large_is_refused_before_it_is_read,
    a_body_without_a_length_is_bounded_too,
    what_is_not_there_is_told,
    an_item_is_cancelled_and_tried_again,
    a_run_tells_how_it_stands,
    items_are_listed_by_pages,
    items_are_found_by_their_text,
    an_item_is_shown_and_waited_for,
    all_of_an_item_is_told_as_long_as_it_is_kept,
    one_worker_is_replaced_and_no_thread_is_ended,
    the_time_that_items_wait_is_told,
    a_later_attempt_waits_since_the_end_of_its_rest,
    the_last_attempt_of_a_dead_letter_has_waited_too,
    attempts_are_the_bars_of_their_workers,
    bars_are_those_of_a_time,
    nothing_is_begun_in_a_pause,
    events_are_told_from_the_moment_when_they_are_asked_for,
    an_order_to_stop_is_answered_when_the_workers_are_gone,
    a_join_is_answered_when_all_has_ended_or_the_time_is_over,
    the_end_of_the_control_ends_what_waits,
    after_the_last_look_nothing_is_taken,
    more_clients_than_there_is_room_for_are_told_so,
    who_says_nothing_keeps_nobody_out,
    bytes_that_are_no_http_harm_nobody,
    the_socket_goes_with_its_control,
    the_openapi_file_has_every_route_and_field,
    the_page_has_every_route_and_code,
}

/// The events of a run, from the moment when they are asked for.
struct Events(BufReader<UnixStream>);

impl Events {
    fn of(socket: &Path) -> Self {
        let mut stream = connect(socket);
        let head = head("GET", "/v1/events", "", 0);
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert_ne!(reader.read_line(&mut line).unwrap(), 0, "no answer");
        }
        Events(reader)
    }

    /// Returns the next event, or `None` at the end.
    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
    }

    /// Returns the next event of this name.
    fn until(&mut self, name: &str) -> Value {
        loop {
            let event = self.next().unwrap_or_else(|| panic!("no {name}"));
            if event["event"] == name {
                return event;
            }
        }
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < DEADLINE, "{what}");
        std::thread::yield_now();
    }
}

fn items_are_put_by_lines_of_json() {
    let run = Run::new();
    let answer = run.put("7\n\n 8 \r\n9");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("content-type: application/json"));
    let expected = json!({"accepted": 3, "items": [{"first": 1, "last": 3}], "duplicates": []});
    assert_eq!(answer.json(), expected);
    run.let_go(3);
    assert_eq!(run.queue.join_timeout(DEADLINE).unwrap().done, 3);
    let begun: Vec<u32> = run.begun.try_iter().collect();
    assert_eq!(begun, [7, 8, 9]);
    let nothing = run.put("\n");
    assert_eq!(
        nothing.json(),
        json!({"accepted": 0, "items": [], "duplicates": []})
    );
}

fn a_line_that_is_no_item_is_named_and_nothing_is_put() {
    let run = Run::new();
    for (body, expected) in [
        ("1\n2\nthree\n", "line 3: "),
        ("1\n\"2\"", "line 2: invalid type: string"),
        ("-1", "line 1: "),
        ("[", "line 1: invalid type: sequence"),
        ("1 2", "line 1: trailing"),
        ("\u{0}", "line 1: "),
    ] {
        let answer = run.put(body);
        assert_eq!((answer.status, &*answer.code()), (400, "bad_item"));
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(expected), "{body:?}: {message}");
        assert!(message.contains("nothing was put"), "{message}");
    }
    let answer = ask(&run.socket, "POST", "/v1/items", b"1\n\xff\xfe\n");
    assert_eq!((answer.status, &*answer.code()), (400, "bad_item"));
    assert_eq!(run.accepted(), 0);
}

fn a_repeated_put_with_a_key_puts_nothing_twice() {
    let run = Run::new();
    let put = |key: &str, body: &str| {
        let header = format!("Idempotency-Key: {key}\r\n");
        ask_with(&run.socket, "POST", "/v1/items", &header, body.as_bytes())
    };
    let first = put("a", "1\n2");
    assert_eq!(first.status, 200);
    assert_eq!(put("a", "1\n2").json(), first.json());
    assert_eq!(run.accepted(), 2);
    let other = put("a", "1\n3");
    assert_eq!((other.status, &*other.code()), (422, "key_reused"));
    assert_eq!(put("b", "1\n2").json()["items"][0]["first"], 3);
    assert_eq!(run.accepted(), 4);
    let bad = put("", "1");
    assert_eq!((bad.status, &*bad.code()), (400, "bad_key"));
    let bad = put(&"x".repeat(256), "1");
    assert_eq!((bad.status, &*bad.code()), (400, "bad_key"));
    // One that was refused may be used again.
    assert_eq!(put("c", "no").status, 400);
    assert_eq!(put("c", "1").status, 200);
}

/// Begins a put of these lines with a key, and leaves it waiting.
fn begin_put(run: &Run, body: &str, headers: &str) -> UnixStream {
    let mut stream = connect(&run.socket);
    let head = head("POST", "/v1/items", headers, body.len() as u64);
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    stream
}

fn a_put_that_waits_for_room_ends_with_its_client() {
    let bounded = Options::default()
        .capacity(dishrack::Capacity::Bounded(1))
        .max_attempts(1);
    for _ in 0..20 {
        let run = Run::with(bounded);
        run.put("1");
        assert_eq!(run.next_begun(), 1);
        run.put("2");
        let waiting = begin_put(&run, "3", "");
        let other = begin_put(&run, "4", "");
        // Nothing tells from outside that it waits; a request after it is answered in any case.
        assert_eq!(run.ask("GET", "/v1/nothing", "").status, 404);
        drop(waiting);
        // There is room as soon as it is gone, and the other one, which is there, gets it.
        run.let_go(3);
        assert_eq!(read_answer(other).json()["accepted"], 1);
        assert_eq!(run.next_begun(), 2);
        assert_eq!(run.next_begun(), 4);
        assert_eq!(run.queue.join_timeout(DEADLINE).unwrap().done, 3);
        assert_eq!(
            run.accepted(),
            3,
            "the item of a client that is gone was put"
        );
    }
}

fn a_put_that_was_cut_short_goes_on_when_it_is_repeated() {
    let run = Run::with(
        Options::default()
            .capacity(dishrack::Capacity::Bounded(2))
            .max_attempts(1),
    );
    let (key, body) = ("Idempotency-Key: a\r\n", "1\n2\n3\n4\n5");
    let first = begin_put(&run, body, key);
    until("three are put", || run.accepted() == 3);
    drop(first);
    // It may take a moment until the server knows.
    let mut again = read_answer(begin_put(&run, "1", key));
    assert_eq!(again.code(), "key_reused");
    run.let_go(5);
    until("the first one has ended", || {
        again = read_answer(begin_put(&run, body, key));
        again.status == 200
    });
    assert_eq!(again.json()["accepted"], 5);
    assert_eq!(run.queue.join_timeout(DEADLINE).unwrap().done, 5);
    assert_eq!(run.accepted(), 5);
    let begun: Vec<u32> = run.begun.try_iter().collect();
    assert_eq!(begun, [1, 2, 3, 4, 5]);
}

fn a_client_that_is_gone_within_its_body_has_put_nothing() {
    let run = Run::new();
    let line = "7\n";
    let body = line.repeat(5 * 1024 * 1024);
    for part in [1, body.len() / 2, body.len() - 1] {
        let mut stream = connect(&run.socket);
        let head = head("POST", "/v1/items", "", body.len() as u64);
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body.as_bytes()[..part]).unwrap();
        drop(stream);
    }
    // What comes later is answered later, so all of that was seen.
    assert_eq!(run.put("1").json()["items"][0]["first"], 1);
    assert_eq!(run.accepted(), 1);
}

fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let run = Run::new();
    let mut stream = connect(&run.socket);
    let head = head("POST", "/v1/items", "", 1 << 30);
    stream.write_all(head.as_bytes()).unwrap();
    let answer = read_answer(stream);
    assert_eq!((answer.status, &*answer.code()), (413, "too_large"));
    assert_eq!(run.put("1").status, 200);
}

fn a_body_without_a_length_is_bounded_too() {
    let run = Run::new();
    let mut stream = connect(&run.socket);
    let head = "POST /v1/items HTTP/1.1\r\nHost: run\r\nTransfer-Encoding: chunked\r\nConnection: \
                close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![b'7'; 1 << 20], b"\r\n"].concat();
    let mut sent = 0;
    while stream.write_all(&chunk).is_ok() {
        sent += 1;
        assert!(sent < 200, "it reads on and on");
    }
    let answer = read_answer(stream);
    assert_eq!((answer.status, &*answer.code()), (413, "too_large"));
    assert_eq!(run.accepted(), 0);
    assert_eq!(run.put("1").status, 200);
}

fn what_is_not_there_is_told() {
    let run = Run::new();
    for (method, path, body, status, code) in [
        ("GET", "/", "", 404, "unknown_path"),
        ("GET", "/v2/status", "", 404, "unknown_path"),
        ("DELETE", "/v1/items", "", 405, "wrong_method"),
        ("GET", "/v1/items/1", "", 404, "unknown_item"),
        ("GET", "/v1/items/0", "", 404, "unknown_item"),
        ("GET", "/v1/items/1?wait=true", "", 404, "unknown_item"),
        ("GET", "/v1/items/1?wait=maybe", "", 400, "bad_query"),
        ("GET", "/v1/items?state=lost", "", 400, "bad_query"),
        ("GET", "/v1/items?limit=0", "", 400, "bad_query"),
        ("GET", "/v1/items?limit=1001", "", 400, "bad_query"),
        ("GET", "/v1/items?after=x", "", 400, "bad_query"),
        ("POST", "/v1/items/x/cancel", "", 400, "bad_number"),
        ("POST", "/v1/items/-1/cancel", "", 400, "bad_number"),
        ("POST", "/v1/items/%FF/cancel", "", 400, "bad_number"),
        ("GET", "/v1/items/1/output", "", 409, "no_output"),
        ("GET", "/v1/items/1/output?tail=1", "", 400, "bad_query"),
        ("POST", "/v1/items/7/cancel", "", 409, "nothing_to_cancel"),
        ("POST", "/v1/items/7/retry", "", 409, "no_dead_letter"),
        ("PUT", "/v1/workers", "2", 400, "bad_body"),
        ("PUT", "/v1/workers", "{\"count\": -1}", 400, "bad_body"),
        ("POST", "/v1/stop", "now", 400, "bad_body"),
        ("POST", "/v1/stop", "{\"now\": 1}", 400, "bad_body"),
        ("POST", "/v1/stop", "{\"then\": true}", 400, "bad_body"),
    ] {
        let answer = run.ask(method, path, body);
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.code(), code, "{method} {path}");
    }
}

fn an_item_is_cancelled_and_tried_again() {
    let run = Run::new();
    run.put("1\n2");
    assert_eq!(run.next_begun(), 1);
    let answer = run.ask("POST", "/v1/items/2/cancel", "");
    assert_eq!(answer.json(), json!({"number": 2, "cancelled": true}));
    assert_eq!(run.queue.counts().unwrap().dead, 1);
    let answer = run.ask("POST", "/v1/items/2/retry", "");
    assert_eq!(answer.json(), json!({"number": 2, "retried": true}));
    run.let_go(2);
    assert_eq!(run.next_begun(), 2);
    assert_eq!(run.queue.join_timeout(DEADLINE).unwrap().done, 2);
}

fn a_run_tells_how_it_stands() {
    let run = Run::new();
    run.put("1\n2\n3");
    assert_eq!(run.next_begun(), 1);
    run.let_go(1);
    assert_eq!(run.next_begun(), 2);
    let status = run.ask("GET", "/v1/status", "").json();
    assert_eq!(status["name"], "run");
    assert_eq!(status["pid"], std::process::id());
    assert_eq!(status["mode"], "threads");
    assert_eq!(status["state"], "running");
    let counts = json!({
        "accepted": 3, "waiting": 1, "leased": 1, "delayed": 0, "done": 1, "dead": 0, "retries": 0,
        "restarts": 0,
    });
    assert_eq!(status["counts"], counts);
    assert!(status["rate_per_s"].as_f64().unwrap() > 0.0 && status["eta_s"].is_number());
    let workers = status["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 1);
    assert_eq!(
        (&workers[0]["state"], &workers[0]["item"]),
        (&json!("busy"), &json!("item-2"))
    );
    assert!(workers[0]["for_us"].is_u64());
    let states = json!({"starting": 0, "idle": 0, "busy": 1, "stopping": 0});
    assert_eq!(status["worker_states"], states);
    let without = run.ask("GET", "/v1/status?workers=false", "").json();
    assert_eq!(without["worker_states"], states);
    assert!(without.get("workers").is_none(), "{without}");
    assert_eq!(without["counts"], counts);
    let odd = run.ask("GET", "/v1/status?workers=some", "");
    assert_eq!((odd.status, odd.code()), (400, "bad_query".into()));
    run.queue.close();
    assert_eq!(run.ask("GET", "/v1/status", "").json()["state"], "draining");
}

fn items_are_listed_by_pages() {
    let run = Run::new();
    run.put("1\n2\n3\n4\n5");
    assert_eq!(run.next_begun(), 1);
    run.ask("POST", "/v1/items/3/cancel", "");
    let list = |query| run.list(query);
    assert_eq!(list(""), (vec![1, 2, 3, 4, 5], None));
    assert_eq!(list("limit=2"), (vec![1, 2], Some(2)));
    assert_eq!(list("limit=2&after=2"), (vec![3, 4], Some(4)));
    assert_eq!(list("limit=2&after=4"), (vec![5], None));
    assert_eq!(list("state=waiting"), (vec![2, 4, 5], None));
    assert_eq!(list("state=running"), (vec![1], None));
    assert_eq!(list("state=dead"), (vec![3], None));
    assert_eq!(list("state=done"), (vec![], None));
}

fn items_are_found_by_their_text() {
    let run = Run::new();
    run.put("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11");
    assert_eq!(run.next_begun(), 1);
    run.ask("POST", "/v1/items/3/cancel", "");
    let list = |query| run.list(query);
    // In any case; a page is full, and the next one has the rest.
    assert_eq!(list("text=ITEM-1"), (vec![1, 10, 11], None));
    assert_eq!(list("text=item&limit=2&after=3"), (vec![4, 5], Some(5)));
    assert_eq!(list("text=item&after=11"), (vec![], None));
    // The number of one, and the last cause of another.
    assert_eq!(list("text=4"), (vec![4], None));
    assert_eq!(list("text=Cancelled"), (vec![3], None));
    assert_eq!(list("state=waiting&text=item-1"), (vec![10, 11], None));
    assert_eq!(list("text=nothing"), (vec![], None));
    assert_eq!(list("text=").0.len(), 11);
}

fn an_item_is_shown_and_waited_for() {
    let run = Run::new();
    run.put("1\n2");
    assert_eq!(run.next_begun(), 1);
    let item = run.ask("GET", "/v1/items/1", "").json();
    assert_eq!(
        (&item["state"], &item["attempts"]),
        (&json!("running"), &json!(1))
    );
    assert_eq!(item["holders"][0]["worker"], "worker-1");
    let late = run.ask("GET", "/v1/items/2?wait=true&timeout_ms=1", "");
    assert_eq!((late.status, &*late.code()), (504, "timeout"));
    let socket = run.socket.clone();
    let waiting = std::thread::spawn(move || ask(&socket, "GET", "/v1/items/2?wait=true", b""));
    run.let_go(1);
    assert_eq!(run.next_begun(), 2);
    run.ends.send(Err("it has a crack".into())).unwrap();
    let item = waiting.join().unwrap().json();
    assert_eq!(item["state"], "dead");
    assert_eq!(item["history"][0]["cause"], "it has a crack");
    assert_eq!(
        run.ask("GET", "/v1/items/1?wait=true", "").json()["state"],
        "done"
    );
}

fn all_of_an_item_is_told_as_long_as_it_is_kept() {
    let run = Run::new();
    run.put("1\n2");
    assert_eq!(run.next_begun(), 1);
    run.let_go(1);
    assert_eq!(run.next_begun(), 2);
    let text = run.ask("GET", "/v1/items/2/text", "");
    assert_eq!((text.status, &*text.body), (200, &b"2"[..]));
    let gone = run.ask("GET", "/v1/items/1/text", "");
    assert_eq!((gone.status, &*gone.code()), (410, "item_gone"));
    let unknown = run.ask("GET", "/v1/items/9/text", "");
    assert_eq!((unknown.status, &*unknown.code()), (404, "unknown_item"));
}

fn one_worker_is_replaced_and_no_thread_is_ended() {
    let run = Run::new();
    run.put("1");
    assert_eq!(run.next_begun(), 1);
    let ended = run.ask("POST", "/v1/workers/worker-1/end", "");
    assert_eq!((ended.status, &*ended.code()), (409, "not_possible"));
    let socket = run.socket.clone();
    let replacing =
        std::thread::spawn(move || ask(&socket, "POST", "/v1/workers/worker-1/replace", b""));
    // The new one is there while the old one still has its item.
    until("a second one is ready", || run.pool.workers().len() == 2);
    run.let_go(1);
    let replaced = replacing.join().unwrap();
    assert_eq!(
        (replaced.status, replaced.json()),
        (200, json!({"worker": "worker-1", "replaced": true}))
    );
    let left: Vec<String> = run.pool.workers().into_iter().map(|one| one.name).collect();
    assert_eq!(left, ["worker-2"]);
    let gone = run.ask("POST", "/v1/workers/worker-1/replace", "");
    assert_eq!((gone.status, &*gone.code()), (409, "not_changed"));
    assert!(
        gone.json()["message"]
            .as_str()
            .unwrap()
            .contains("no such worker")
    );
}

fn the_time_that_items_wait_is_told() {
    const WAIT_US: u64 = 50_000;
    let run = Run::new();
    run.put("1");
    assert_eq!(run.next_begun(), 1);
    let oldest = || run.ask("GET", "/v1/status", "").json()["oldest_waiting_us"].as_u64();
    assert_eq!(oldest(), None, "nothing waits");
    run.put("2");
    until("it has waited", || oldest() > Some(WAIT_US));
    run.let_go(2);
    assert_eq!(run.queue.join_timeout(DEADLINE).unwrap().done, 2);
    let (count, waited) = waits(&run);
    assert_eq!(count, 2.0);
    assert!(waited * 1e6 >= WAIT_US as f64, "{waited} s");
}

/// Returns the number of waits until an attempt, and their sum in seconds.
fn waits(run: &Run) -> (f64, f64) {
    let numbers = run.ask("GET", "/metrics", "").body;
    let numbers = String::from_utf8(numbers).unwrap();
    let number = |name: &str| -> f64 {
        let mut lines = numbers.lines();
        let line = lines.find(|line| line.starts_with(name)).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    (
        number("dishrack_item_wait_seconds_count"),
        number("dishrack_item_wait_seconds_sum"),
    )
}

fn a_later_attempt_waits_since_the_end_of_its_rest() {
    const WAIT: Duration = Duration::from_millis(50);
    // A time is told too long by a tick of the kernel's clock.
    const TICK: Duration = Duration::from_millis(20);
    let backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(1));
    let rest = backoff.delay(1, 1);
    let run = Run::with(Options::default().max_attempts(2).backoff(backoff));
    let is = |state: &str| run.ask("GET", "/v1/items/1", "").json()["state"] == state;
    let put = |item: u32| -> Duration {
        let before = Instant::now();
        run.put(&item.to_string());
        assert_eq!(run.next_begun(), item);
        before.elapsed()
    };
    let mut waited = put(1);
    let failed = Instant::now();
    run.ends.send(Err("no".into())).unwrap();
    until("it rests", || is("resting"));
    waited += put(2);
    until("it has rested", || is("waiting"));
    let since = Instant::now();
    until("it has waited", || since.elapsed() > WAIT);
    run.let_go(1);
    assert_eq!(run.next_begun(), 1);
    waited += failed.elapsed().saturating_sub(rest);
    run.let_go(1);
    assert_eq!(run.queue.join_timeout(DEADLINE).unwrap().done, 2);
    let (count, sum) = waits(&run);
    assert_eq!(count, 3.0);
    let bounds = WAIT.as_secs_f64()..=(waited + 3 * TICK).as_secs_f64();
    assert!(bounds.contains(&sum), "{sum} is not in {bounds:?}");
}

fn the_last_attempt_of_a_dead_letter_has_waited_too() {
    let options = Options::default().max_attempts(2);
    let run = Run::with(options.backoff(Backoff::exponential(Duration::ZERO, Duration::ZERO)));
    run.put("1");
    for _ in 0..2 {
        assert_eq!(run.next_begun(), 1);
        run.ends.send(Err("no".into())).unwrap();
    }
    assert_eq!(run.queue.join_timeout(DEADLINE).unwrap().dead, 1);
    assert_eq!(waits(&run).0, 2.0);
}

/// Returns the bars of a run's only worker, in their order.
fn bars(run: &Run, query: &str) -> Vec<Value> {
    let told = run.ask("GET", &format!("/v1/timeline?{query}"), "").json();
    assert_eq!(told["workers"], 1, "{told}");
    let row = &told["rows"][0];
    assert_eq!(row["worker"], "worker-1");
    row["bars"].as_array().unwrap().clone()
}

fn attempts_are_the_bars_of_their_workers() {
    let run = Run::with(Options::default().max_attempts(2));
    run.put("1\n2\n3");
    assert_eq!(run.next_begun(), 1);
    run.let_go(1);
    assert_eq!(run.next_begun(), 2);
    for _ in 0..2 {
        run.ends.send(Err("it has a crack".into())).unwrap();
    }
    assert_eq!((run.next_begun(), run.next_begun()), (2, 3));
    let bars = bars(&run, "");
    let told = |name: &str| bars.iter().map(|bar| bar[name].clone()).collect::<Vec<_>>();
    assert_eq!(told("first"), [1, 2, 2, 3]);
    assert_eq!(told("last"), told("first"));
    assert_eq!(told("failed"), [0, 1, 1, 0]);
    assert_eq!(told("attempt"), [json!(1), json!(1), json!(2), json!(null)]);
    let crack = json!("it has a crack");
    assert_eq!(
        told("cause"),
        [json!(null), crack.clone(), crack, json!(null)]
    );
    let times = |name: &str| -> Vec<u64> { told(name).iter().filter_map(Value::as_u64).collect() };
    let (started, ended) = (times("started_us"), times("ended_us"));
    assert_eq!(
        (started.len(), ended.len()),
        (4, 3),
        "the last one is under way"
    );
    assert!(
        started.iter().zip(&ended).all(|(start, end)| start <= end),
        "{bars:?}"
    );
    assert!(
        ended
            .iter()
            .zip(&started[1..])
            .all(|(end, next)| end <= next),
        "{bars:?}"
    );
}

fn bars_are_those_of_a_time() {
    let run = Run::new();
    run.put("1\n2\n3");
    assert_eq!(run.next_begun(), 1);
    run.let_go(1);
    assert_eq!(run.next_begun(), 2);
    let all = bars(&run, "");
    let first_ended = all[0]["ended_us"].as_u64().unwrap();
    let later = bars(&run, &format!("since_us={}", first_ended + 1));
    assert_eq!((later.len(), &later[0]["first"]), (1, &json!(2)));
    let earlier = bars(&run, &format!("since_us=0&until_us={}", first_ended - 1));
    let begun = all[0]["started_us"].as_u64().unwrap() < first_ended;
    assert_eq!(earlier.len(), usize::from(begun));
    for (query, fault) in [
        ("since_us=9&until_us=9", "not before"),
        ("limit=0", "between 1 and 1000"),
        ("bars=10001", "between 1 and 10000"),
        ("rows=1", "rows"),
    ] {
        let answer = run.ask("GET", &format!("/v1/timeline?{query}"), "");
        assert_eq!(
            (answer.status, &*answer.code()),
            (400, "bad_query"),
            "{query}"
        );
        assert!(
            answer.json()["message"].as_str().unwrap().contains(fault),
            "{query}"
        );
    }
    // There is one row, and nothing after it.
    let told = run.ask("GET", "/v1/timeline?after=1", "").json();
    assert_eq!((&told["rows"], &told["after"]), (&json!([]), &json!(null)));
}

fn nothing_is_begun_in_a_pause() {
    let run = Run::new();
    run.put("1\n2");
    assert_eq!(run.next_begun(), 1);
    assert_eq!(
        run.ask("POST", "/v1/pause", "").json(),
        json!({"paused": true})
    );
    run.let_go(1);
    until("the first one is done", || {
        run.queue.counts().unwrap().done == 1
    });
    assert_eq!(run.put("3").status, 200);
    let status = run.ask("GET", "/v1/status", "").json();
    assert_eq!(
        (&status["state"], &status["counts"]["waiting"]),
        (&json!("paused"), &json!(2))
    );
    assert!(run.begun.is_empty());
    assert_eq!(
        run.ask("POST", "/v1/resume", "").json(),
        json!({"resumed": true})
    );
    run.let_go(2);
    assert_eq!(run.queue.join_timeout(DEADLINE).unwrap().done, 3);
}

fn events_are_told_from_the_moment_when_they_are_asked_for() {
    let run = Run::new();
    run.put("1");
    run.let_go(1);
    run.queue.join_timeout(DEADLINE).unwrap();
    let mut events = Events::of(&run.socket);
    run.put("2");
    let event = events.until("running");
    assert_eq!(
        (&event["item"], &event["number"]),
        (&json!("item-2"), &json!(2))
    );
    run.ends.send(Err("it has a crack".into())).unwrap();
    let event = events.until("dead");
    assert_eq!(event["cause"], "it has a crack");
    // Others come and go meanwhile.
    drop(Events::of(&run.socket));
    run.put("3");
    run.let_go(1);
    assert_eq!(events.until("done")["item"], "item-3");
    let Run { control, .. } = &run;
    assert_eq!(control.as_ref().unwrap().name(), "run");
}

fn an_order_to_stop_is_answered_when_the_workers_are_gone() {
    let run = Run::new();
    run.put("1\n2");
    assert_eq!(run.next_begun(), 1);
    let (asked, is_asked) = bounded(1);
    let socket = run.socket.clone();
    let asking = std::thread::spawn(move || {
        asked.send(()).unwrap();
        ask(&socket, "POST", "/v1/stop", b"")
    });
    is_asked.recv().unwrap();
    until("the queue is closed", || run.queue.is_closed());
    assert!(!asking.is_finished());
    let refused = run.put("3");
    assert_eq!((refused.status, &*refused.code()), (409, "closed"));
    run.let_go(1);
    assert_eq!(
        asking.join().unwrap().json(),
        json!({"stopped": true, "process_ends": false})
    );
    assert!(run.pool.workers().is_empty());
}

fn a_join_is_answered_when_all_has_ended_or_the_time_is_over() {
    let run = Run::new();
    assert_eq!(
        run.ask("GET", "/v1/join", "").json(),
        json!({"done": 0, "dead": 0, "retries": 0})
    );
    run.put("1\n2");
    let late = run.ask("GET", "/v1/join?timeout_ms=1", "");
    assert_eq!((late.status, &*late.code()), (504, "timeout"));
    for query in ["timeout_ms=x", "timeout_ms=-1", "time=1"] {
        let bad = run.ask("GET", &format!("/v1/join?{query}"), "");
        assert_eq!((bad.status, &*bad.code()), (400, "bad_query"), "{query}");
    }
    let socket = run.socket.clone();
    let joining = std::thread::spawn(move || ask(&socket, "GET", "/v1/join", b""));
    assert_eq!(run.next_begun(), 1);
    run.let_go(1);
    assert_eq!(run.next_begun(), 2);
    run.ends.send(Err("no".into())).unwrap();
    assert_eq!(
        joining.join().unwrap().json(),
        json!({"done": 1, "dead": 1, "retries": 0})
    );
}

fn the_end_of_the_control_ends_what_waits() {
    let bounded = Options::default().capacity(dishrack::Capacity::Bounded(1));
    let run = Run::with(bounded);
    run.put("1");
    assert_eq!(run.next_begun(), 1);
    run.put("2");
    let other = run.socket.parent().unwrap().join("other.sock");
    let control = Control::serve_at(&other, Controlled::new(&run.queue, &run.pool)).unwrap();
    let body = "3";
    let mut putting = connect(&other);
    let head_of_put = head("POST", "/v1/items", "", 1);
    putting.write_all((head_of_put + body).as_bytes()).unwrap();
    let mut joining = connect(&other);
    let head_of_join = head("GET", "/v1/join", "", 0);
    joining.write_all(head_of_join.as_bytes()).unwrap();
    // Both are read before it.
    assert_eq!(ask(&other, "GET", "/v1/nothing", b"").status, 404);
    drop(control);
    for waiting in [putting, joining] {
        let answer = read_answer(waiting);
        assert_eq!((answer.status, &*answer.code()), (409, "closed"));
    }
    assert_eq!(run.accepted(), 2);
}

fn after_the_last_look_nothing_is_taken() {
    let run = Run::new();
    run.put("1");
    run.let_go(1);
    run.queue.join_timeout(DEADLINE).unwrap();
    run.control.as_ref().unwrap().refuse_changes();
    let refused = run.put("2");
    assert_eq!((refused.status, &*refused.code()), (409, "closed"));
    assert_eq!(run.accepted(), 1);
}

fn more_clients_than_there_is_room_for_are_told_so() {
    let run = Run::new();
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    let mut clients: Vec<UnixStream> = (0..256).map(|_| connect(&run.socket)).collect();
    // Each of them has its place once it is answered.
    for client in &mut clients {
        client
            .write_all(b"GET /v1/nothing HTTP/1.1\r\nHost: run\r\n\r\n")
            .unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(client, &mut byte).unwrap();
    }
    for _ in 0..100 {
        let refused = run.put("1");
        assert_eq!((refused.status, &*refused.code()), (503, "busy"));
    }
    assert_eq!(run.accepted(), 0);
    drop(clients);
    until("there is room again", || run.put("1").status == 200);
    until("their files are closed", || open() <= before + 20);
}

fn who_says_nothing_keeps_nobody_out() {
    let run = Run::new();
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    // Many more than there are places, one after the other as they are accepted.
    let silent: Vec<UnixStream> = (0..800).map(|_| connect(&run.socket)).collect();
    for _ in 0..10 {
        assert_eq!(run.put("1").status, 200);
    }
    // Theirs are closed but for the last ones; our own ends are open.
    until("the oldest were closed", || open() < before + 800 + 300);
    let mut last = silent.last().unwrap();
    last.write_all(b"GET /v1/status HTTP/1.1\r\nHost: run\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut last, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn bytes_that_are_no_http_harm_nobody() {
    let run = Run::new();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    let texts: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/items HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ];
    for text in texts {
        let mut stream = connect(&run.socket);
        // It may be closed before it is read.
        let _ = stream.write_all(text);
        let mut answer = Vec::new();
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let is_refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(is_refused, "{answer}");
    }
    assert_eq!(run.put("1").status, 200);
}

fn the_socket_goes_with_its_control() {
    let run = Run::new();
    let (queue, pool) = (run.queue.clone(), Arc::clone(&run.pool));
    let again = Control::serve_at(&run.socket, Controlled::new(&queue, &pool)).unwrap_err();
    assert!(again.is_setup() && again.to_string().contains("another run serves it"));
    let folder = run.socket.parent().unwrap().to_owned();
    let other = folder.join("other.sock");
    let control = Control::serve_at(&other, Controlled::new(&queue, &pool)).unwrap();
    let mut events = Events::of(control.path());
    drop(control);
    // A client that listens sees the end.
    assert_eq!(events.next(), None);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2);
}

fn page(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    fs::read_to_string(format!("{path}{name}")).unwrap()
}

/// Returns the methods and paths that the code has, such as `post /v1/items/{number}/cancel`.
fn routes() -> BTreeSet<String> {
    let code = page("src/control/requests.rs");
    let (_, code) = code.split_once("Router::new()").unwrap();
    let (code, _) = code.split_once(".fallback").unwrap();
    let mut routes = BTreeSet::new();
    for route in code.split(".route(").skip(1) {
        let path = route.split('"').nth(1).unwrap();
        for method in ["get", "post", "put"] {
            let call = match method {
                "put" => "put_method(".to_owned(),
                method => format!("{method}("),
            };
            if route.contains(&call) {
                routes.insert(format!("{method} {path}"));
            }
        }
    }
    assert!(routes.len() >= 13, "{routes:?}");
    routes
}

fn openapi() -> Value {
    serde_json::from_str(&page("docs/openapi.json")).unwrap()
}

fn the_openapi_file_has_every_route_and_field() {
    let openapi = openapi();
    let paths = openapi["paths"].as_object().unwrap();
    let listed = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(move |method| format!("{method} {path}"))
    });
    assert_eq!(listed.collect::<BTreeSet<String>>(), routes());
    for methods in paths.values() {
        for operation in methods.as_object().unwrap().values() {
            let failure = &operation["responses"]["default"]["content"]["application/json"];
            assert_eq!(failure["schema"]["$ref"], "#/components/schemas/Failure");
        }
    }
    // Every schema is that of an answer that came.
    let run = Run::new();
    run.put("1\n2\n3");
    assert_eq!(run.next_begun(), 1);
    let mut answers = vec![
        ("Status", run.ask("GET", "/v1/status", "")),
        ("List", run.ask("GET", "/v1/items", "")),
        ("Failures", run.ask("GET", "/v1/failures", "")),
        ("Timeline", run.ask("GET", "/v1/timeline", "")),
        ("Paused", run.ask("POST", "/v1/pause", "")),
        ("Resumed", run.ask("POST", "/v1/resume", "")),
        ("Put", run.put("4")),
        ("Failure", run.put("no")),
        ("Cancelled", run.ask("POST", "/v1/items/2/cancel", "")),
        ("Retried", run.ask("POST", "/v1/items/2/retry", "")),
    ];
    run.let_go(4);
    answers.push(("Item", run.ask("GET", "/v1/items/2", "")));
    run.put("5");
    assert_eq!(run.ask("POST", "/v1/items/5/cancel", "").status, 200);
    answers.push(("Dropped", run.ask("POST", "/v1/items/5/drop", "")));
    // Its thread goes on to the end.
    run.let_go(1);
    let scaled = run.ask("PUT", "/v1/workers", "{\"count\": 2}");
    answers.push(("Scaled", scaled));
    answers.push((
        "WorkerReplaced",
        run.ask("POST", "/v1/workers/worker-2/replace", ""),
    ));
    answers.push(("Reloaded", run.ask("POST", "/v1/reload", "")));
    answers.push(("Joined", run.ask("GET", "/v1/join", "")));
    answers.push(("Stopped", run.ask("POST", "/v1/stop", "")));
    let schemas = &openapi["components"]["schemas"];
    for (name, answer) in &answers {
        holds(&schemas[name], &answer.json(), name);
    }
    let seen: BTreeSet<&str> = answers.iter().map(|(name, _)| *name).collect();
    let named = schemas.as_object().unwrap().keys();
    let unseen: Vec<&String> = named.filter(|name| !seen.contains(&***name)).collect();
    // A thread cannot be ended alone: `tests/process` has that of a process.
    assert_eq!(unseen, ["Events", "WorkerEnded"]);
}

/// Checks that a value has exactly the fields of a schema, and their kinds.
fn holds(schema: &Value, value: &Value, place: &str) {
    let kinds = match &schema["type"] {
        Value::Array(kinds) if value.is_null() => {
            assert!(kinds.contains(&json!("null")), "{place} is null");
            return;
        }
        Value::Array(kinds) => kinds[0].clone(),
        kind => kind.clone(),
    };
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{place}: {value}");
    }
    match kinds.as_str().unwrap() {
        "object" => {
            let fields = |of: &Value| of.as_object().unwrap().keys().cloned().collect();
            let (listed, found): (BTreeSet<String>, BTreeSet<String>) =
                (fields(&schema["properties"]), fields(value));
            assert_eq!(listed, found, "{place}");
            for field in listed {
                let (schema, value) = (&schema["properties"][&field], &value[&field]);
                holds(schema, value, &format!("{place}.{field}"));
            }
        }
        "array" => {
            for one in value.as_array().unwrap() {
                holds(&schema["items"], one, &format!("{place}[]"));
            }
        }
        "integer" => assert!(value.is_u64(), "{place}: {value}"),
        "number" => assert!(value.is_number(), "{place}: {value}"),
        "boolean" => assert!(value.is_boolean(), "{place}: {value}"),
        "string" => assert!(value.is_string(), "{place}: {value}"),
        other => panic!("{place}: {other}"),
    }
}

fn the_page_has_every_route_and_code() {
    let text = page("docs/api.md");
    for route in routes() {
        let (method, path) = route.split_once(' ').unwrap();
        let method = method.to_uppercase();
        let request = format!(
            "`{method} {}",
            path.replace("{number}", "N").replace("{worker}", "NAME")
        );
        assert!(text.contains(&request), "{request}");
    }
    let sources = [
        "failure.rs",
        "requests.rs",
        "api.rs",
        "steering.rs",
        "server.rs",
        "body.rs",
        "follow.rs",
        "puts.rs",
    ];
    let code: String = sources
        .map(|one| page(&format!("src/control/{one}")))
        .concat();
    let words = code.split('"').skip(1).step_by(2);
    let is_code = |word: &&str| {
        let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
        word.len() > 3 && word.contains('_') && word.chars().all(is_part)
    };
    let not_codes = ["timeout_ms", "process_ends"];
    for code in words
        .filter(is_code)
        .filter(|word| !not_codes.contains(word))
    {
        assert!(text.contains(&format!("| `{code}` |")), "{code}");
    }
}
