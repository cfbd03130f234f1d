//! Queues that stay: `supervisor serve`, and commands that are added to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use crate::control::{Started, finish};
use crate::http::ask_with;
use crate::place::Place;
use crate::support::{is_alive, send, until};

crate::trials! {
    an_added_command_keeps_its_words_its_folder_and_its_variables,
    added_commands_are_run_when_they_say,
    what_is_added_after_others_begins_when_they_are_done,
    a_repeated_put_with_a_duplicate_puts_nothing_twice,
    what_is_added_after_one_that_fails_never_begins,
    what_is_added_as_a_duplicate_is_the_other_one,
    a_wait_ends_with_the_commands_own_code,
    several_adds_that_start_a_server_start_one,
    a_server_that_is_started_has_no_files_of_its_caller,
    a_server_that_cannot_be_started_says_why,
    what_a_killed_server_had_begun_is_lost_and_the_rest_goes_on,
    what_was_lost_is_run_again_if_it_may_be_and_never_beside_itself,
    what_a_stop_ends_is_run_again,
    a_stop_at_once_ends_with_143_and_leaves_what_was_begun,
    the_log_of_a_detached_server_is_bounded,
    a_folder_that_is_gone_fails_its_own_item_alone,
    a_queue_of_a_command_stays_and_its_results_too,
    a_text_on_a_queue_of_commands_is_refused_with_the_way_to_add_one,
    a_journal_of_other_items_is_refused,
    a_queue_that_nobody_could_ask_is_not_served,
    what_makes_no_sense_is_refused,
    a_key_is_one_item_however_often_the_server_is_killed,
}

/// A server that was started by an `add`, which a test must end itself.
struct Detached(u32);

impl Drop for Detached {
    fn drop(&mut self) {
        if is_alive(self.0) {
            send(self.0, Signal::SIGKILL);
        }
    }
}

/// Makes a command whose state is in the place, too.
fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    command.env("XDG_STATE_HOME", place.path("state"));
    command
}

fn run(place: &Place, arguments: &[&str]) -> Output {
    let mut command = command(place, arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

/// Runs a subcommand, which must succeed.
fn ask(place: &Place, arguments: &[&str]) -> String {
    let output = run(place, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a subcommand, which must fail, and returns what it says.
fn refused(place: &Place, arguments: &[&str]) -> String {
    let output = run(place, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn show(place: &Place, item: &str) -> Value {
    serde_json::from_str(&ask(place, &["show", item, "--format", "json"])).unwrap()
}

/// Serves a queue with these options, and waits until it can be asked.
fn serve(place: &Place, options: &[&str]) -> Started {
    let mut command = command(place, &[&["serve"], options].concat());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut run = Started(command.spawn().unwrap());
    until("the queue can be asked", || {
        if let Some(status) = run.0.try_wait().unwrap() {
            let mut said = String::new();
            run.0
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            panic!("{status}: {said}");
        }
        UnixStream::connect(place.socket("serve")).is_ok() && run_is_ready(place)
    });
    run
}

/// Returns `true` if the server answers, which it does when it has opened its journal.
fn run_is_ready(place: &Place) -> bool {
    run(place, &["status", "--at", "serve"]).status.success()
}

fn detached(place: &Place) -> Detached {
    let status = ask(place, &["status", "--at", "serve", "--format", "json"]);
    let status: Value = serde_json::from_str(&status).unwrap();
    Detached(u32::try_from(status["pid"].as_u64().unwrap()).unwrap())
}

fn kill(mut run: Started) {
    send(run.0.id(), Signal::SIGKILL);
    run.0.wait().unwrap();
}

fn added_commands_are_run_when_they_say() {
    let place = Place::new();
    let server = serve(&place, &["-w", "1"]);
    mkfifo(&place.path("gate"), Mode::S_IRWXU).unwrap();
    let add = |options: &[&str], script: &str| {
        let folder = place.path("").display().to_string();
        let to = ["add", "--workdir", &folder];
        let item = ask(
            &place,
            &[&to, options, &["--", "sh", "-c", script]].concat(),
        );
        item.trim().to_owned()
    };
    add(&[], "read x < gate");
    let low = add(&["--priority", "-1"], "echo low >> order");
    let high = add(&["--priority", "5"], "echo high >> order");
    let late = add(&["--deadline", "20ms"], "echo late >> order");
    let early = add(&["--not-before", "1h"], "echo early >> order");
    until("its deadline has come", || {
        show(&place, &late)["state"] == "dead"
    });
    let letter = show(&place, &late);
    let cause = "its deadline came before it was begun";
    assert_eq!(
        (&letter["attempts"], &letter["history"][0]["cause"]),
        (&0.into(), &cause.into())
    );
    fs::write(place.path("gate"), "go\n").unwrap();
    ask(&place, &["wait", &low, &high]);
    assert_eq!(
        fs::read_to_string(place.path("order")).unwrap(),
        "high\nlow\n"
    );
    let rests = |item: &Value| item["state"] == "resting" && item["due_us"].is_u64();
    let before = show(&place, &early);
    assert!(rests(&before), "{before}");
    assert_eq!(ask(&place, &["stop"]), "stopped\n");
    drop(server);
    // What was to be run later still is.
    let _server = serve(&place, &["-w", "1"]);
    let after = show(&place, &early);
    assert!(rests(&after), "{after}");
    let due = |item: &Value| item["due_us"].as_u64().unwrap();
    assert!(
        due(&after).abs_diff(due(&before)) < 1_000_000,
        "{before}, {after}"
    );
}

fn what_is_added_after_others_begins_when_they_are_done() {
    let place = Place::new();
    let server = serve(&place, &["-w", "2"]);
    mkfifo(&place.path("gate"), Mode::S_IRWXU).unwrap();
    let folder = place.path("").display().to_string();
    let add = |options: &[&str], script: &str| {
        let to = ["add", "--workdir", &folder];
        let words = [&to, options, &["--", "sh", "-c", script]].concat();
        ask(&place, &words).trim().to_owned()
    };
    ask(&place, &["pause"]);
    let first = add(&[], "read x < gate; echo first >> order");
    let second = add(&["--after", &first], "echo second >> order");
    let both = format!("{first},{second}");
    let third = add(&["--after", &both], "echo third >> order");
    let waits = || {
        let item = show(&place, &second);
        assert_eq!(item["waits_for"], "items", "{item}");
        assert_eq!(item["after"].to_string(), format!("[{first}]"));
        assert_eq!(
            (&item["state"], &item["due_us"]),
            (&"resting".into(), &Value::Null)
        );
        let list = ask(&place, &["list"]);
        assert!(
            list.contains(&format!("waits for items {first}, {second}")),
            "{list}"
        );
    };
    waits();
    kill(server);
    let _server = serve(&place, &["-w", "2"]);
    waits();
    fs::write(place.path("gate"), "go\n").unwrap();
    ask(&place, &["wait", &third]);
    let order = fs::read_to_string(place.path("order")).unwrap();
    assert_eq!(order, "first\nsecond\nthird\n");
    // What is done counts as done.
    let later = add(&["--after", &both], "true");
    ask(&place, &["wait", &later]);
}

fn what_is_added_as_a_duplicate_is_the_other_one() {
    let place = Place::new();
    let server = serve(&place, &["-w", "1"]);
    mkfifo(&place.path("gate"), Mode::S_IRWXU).unwrap();
    let folder = place.path("").display().to_string();
    let add = |options: &[&str], script: &str| {
        let words = ["add", "--workdir", &folder, "--format", "json"];
        let words = [&words, options, &["--", "sh", "-c", script]].concat();
        let added: Value = serde_json::from_str(&ask(&place, &words)).unwrap();
        (
            added["number"].as_u64().unwrap(),
            added["duplicate"] == true,
        )
    };
    ask(&place, &["pause"]);
    let nightly = ["--unique", "nightly"];
    assert_eq!(add(&nightly, "read x < gate; echo 1 >> seen"), (1, false));
    assert_eq!(add(&nightly, "echo 2 >> seen"), (1, true));
    assert_eq!(add(&["--unique", "other"], "true"), (2, false));
    let text = ["add", "--unique", "other", "--", "true"];
    let output = run(&place, &text);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("a duplicate of item 2"), "{said}");
    assert_eq!(
        (&*output.stdout, output.status.code()),
        (&b"2\n"[..], Some(0))
    );
    kill(server);
    let server = serve(&place, &["-w", "1"]);
    assert_eq!(add(&nightly, "echo 3 >> seen"), (1, true));
    fs::write(place.path("gate"), "go\n").unwrap();
    ask(&place, &["wait", "1", "2"]);
    let hourly = ["--unique", "nightly", "--unique-for", "1h"];
    assert_eq!(add(&hourly, "echo 4 >> seen"), (3, false));
    ask(&place, &["wait", "3"]);
    assert_eq!(add(&nightly, "echo 5 >> seen"), (3, true), "it is done");
    assert_eq!(fs::read_to_string(place.path("seen")).unwrap(), "1\n4\n");
    drop(server);
}

fn a_repeated_put_with_a_duplicate_puts_nothing_twice() {
    let place = Place::new();
    let server = serve(&place, &["-w", "1"]);
    mkfifo(&place.path("gate"), Mode::S_IRWXU).unwrap();
    let folder = place.path("").display().to_string();
    let first = ["add", "--workdir", &folder, "--unique", "nightly", "--"];
    ask(
        &place,
        &[&first[..], &["sh", "-c", "read x < gate"]].concat(),
    );
    let line = |word: &str, unique: Option<&str>| {
        let command = ["sh", "-c", "echo $0 >> seen", word];
        let mut line = json!({"command": command, "workdir": folder});
        line["unique"] = unique.into();
        line.to_string()
    };
    let lines = [
        line("one", Some("nightly")),
        line("two", None),
        line("three", None),
    ];
    let put = || {
        let (path, headers) = ("/v1/items?form=command", "Idempotency-Key: k\r\n");
        let socket = place.socket("serve");
        ask_with(&socket, "POST", path, headers, lines.join("\n").as_bytes()).json()
    };
    let duplicates = json!([{"place": 1, "of": 1}]);
    let expected =
        json!({"accepted": 2, "items": [{"first": 2, "last": 3}], "duplicates": duplicates});
    assert_eq!(put(), expected);
    assert_eq!(put(), expected);
    fs::write(place.path("gate"), "go\n").unwrap();
    ask(&place, &["wait", "1", "2", "3"]);
    kill(server);
    let _server = serve(&place, &["-w", "1"]);
    // Nobody has put the first one yet.
    let items = json!([{"first": 4, "last": 4}, {"first": 2, "last": 3}]);
    assert_eq!(
        put(),
        json!({"accepted": 3, "items": items, "duplicates": []})
    );
    ask(&place, &["join"]);
    let seen = fs::read_to_string(place.path("seen")).unwrap();
    assert_eq!(seen, "two\nthree\none\n");
}

fn what_is_added_after_one_that_fails_never_begins() {
    let place = Place::new();
    let _server = serve(&place, &["-w", "2"]);
    mkfifo(&place.path("gate"), Mode::S_IRWXU).unwrap();
    let folder = place.path("").display().to_string();
    let add = |options: &[&str], script: &str| {
        let to = ["add", "--workdir", &folder];
        run(
            &place,
            &[&to, options, &["--", "sh", "-c", script]].concat(),
        )
    };
    let number = |added: Output| String::from_utf8(added.stdout).unwrap().trim().to_owned();
    let first = number(add(&[], "read x < gate; exit 3"));
    let second = number(add(&["--after", &first], "touch begun"));
    let third = number(add(&["--after", &second], "touch begun"));
    fs::write(place.path("gate"), "go\n").unwrap();
    assert_eq!(run(&place, &["wait", &third]).status.code(), Some(1));
    for (item, on) in [(&second, &first), (&third, &second)] {
        let letter = show(&place, item);
        let cause =
            format!("dependency failed: item {on}, after which it was to begin, is a dead letter");
        assert_eq!(
            (&letter["attempts"], &letter["history"][0]["cause"]),
            (&0.into(), &cause.into())
        );
    }
    assert!(!place.path("begun").exists());
    for (item, why) in [(&*first, "was given up"), ("999", "there is no item 999")] {
        let refused = add(&["--after", item], "true");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            refused.status.code() == Some(2) && said.contains(why),
            "{said}"
        );
    }
    // Tried again with that, it waits for it, in whatever order they are named.
    ask(&place, &["retry", &second, &first]);
    fs::write(place.path("gate"), "go\n").unwrap();
    assert_eq!(run(&place, &["wait", &second]).status.code(), Some(1));
    assert!(!place.path("begun").exists());
    // Whoever tries it again alone wants it to begin.
    ask(&place, &["retry", &second]);
    ask(&place, &["wait", &second]);
    assert!(place.path("begun").exists());
}

fn an_added_command_keeps_its_words_its_folder_and_its_variables() {
    let place = Place::new();
    let folder = place.path("some where");
    fs::create_dir(&folder).unwrap();
    let script = "pwd; printf '%s\\n' \"$0\" \"$1\" \"$A\" \"$HERE\" \"${NOT_HERE-unset}\" >&2";
    let mut add = command(
        &place,
        &["add", "--start", "--name", "a name", "--env", "A=b=c"],
    );
    add.args(["--env", "HERE", "--", "sh", "-c", script]);
    add.arg(OsString::from_vec(b"x\xff y".to_vec())).arg("");
    add.env("HERE", "from here").current_dir(&folder);
    // The server is started with what the first one has.
    let first = add.output().unwrap();
    assert_eq!(first.stdout, b"1\n", "{first:?}");
    let server = detached(&place);
    let again = add.env("NOT_HERE", "1").output().unwrap();
    assert_eq!(again.stdout, b"2\n");
    ask(&place, &["wait", "1", "2"]);
    for item in ["1", "2"] {
        let output = run(&place, &["logs", item]);
        assert_eq!(output.stdout, format!("{}\n", folder.display()).as_bytes());
        assert_eq!(output.stderr, b"x\xff y\n\nb=c\nfrom here\nunset\n");
    }
    assert_eq!(show(&place, "1")["item"], "a name");
    assert_eq!(ask(&place, &["stop"]), "stopped\n");
    assert!(!is_alive(server.0));
    // Nothing of it was lost with the server.
    let _server = serve(&place, &[]);
    let listed = ask(&place, &["list"]);
    let expected = "1\tdone\ta name\t1 attempt\n2\tdone\ta name\t1 attempt\n";
    assert_eq!(listed, expected);
    assert_eq!(
        run(&place, &["logs", "-f", "2"]).stdout,
        format!("{}\n", folder.display()).as_bytes()
    );
    assert_eq!(
        show(&place, "2")["exit"],
        json!({"code": 0, "signal": null})
    );
}

fn a_wait_ends_with_the_commands_own_code() {
    let place = Place::new();
    let _server = serve(&place, &[]);
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -SEGV $$", 139),
    ] {
        let item = ask(&place, &["add", "--", "sh", "-c", script]);
        let waited = run(&place, &["wait", item.trim()]);
        assert_eq!(waited.status.code(), Some(code), "{script}: {waited:?}");
        // None of them is run again.
        assert_eq!(show(&place, item.trim())["attempts"], 1, "{script}");
    }
    let item = ask(&place, &["add", "--", "no-such-program"]);
    assert_eq!(run(&place, &["wait", item.trim()]).status.code(), Some(127));
    // Of several it is that of the first that has failed.
    assert_eq!(
        run(&place, &["wait", "1", "3", "2"]).status.code(),
        Some(143)
    );
    assert_eq!(ask(&place, &["logs", "1"]), "");
}

fn several_adds_that_start_a_server_start_one() {
    let place = Place::new();
    let adds: Vec<_> = (0..6)
        .map(|n| {
            let number = n.to_string();
            let mut add = command(&place, &["add", "--start", "--", "echo", &number]);
            add.stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let outputs: Vec<Output> = adds
        .into_iter()
        .map(|add| add.wait_with_output().unwrap())
        .collect();
    let _server = detached(&place);
    let numbers: BTreeSet<String> = outputs
        .iter()
        .map(|output| {
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout.clone()).unwrap()
        })
        .collect();
    assert_eq!(numbers.len(), 6);
    assert_eq!(ask(&place, &["ps", "--format", "json"]).lines().count(), 1);
    ask(&place, &["wait", "1", "2", "3", "4", "5", "6"]);
    let told: BTreeSet<String> = numbers
        .iter()
        .map(|item| ask(&place, &["logs", item.trim()]))
        .collect();
    assert_eq!(told.len(), 6);
    ask(&place, &["stop"]);
}

fn a_server_that_is_started_has_no_files_of_its_caller() {
    let place = Place::new();
    // The pipe and the lock would be open as long as the server lives.
    let script = "exec 8>&1 9>lock; flock 9; \"$0\" add --start -- true";
    let shell = command(&place, &[]);
    let supervisor = shell.get_program().to_owned();
    let mut caller = Command::new("sh");
    caller.args(["-c", script]).arg(supervisor);
    let environment = shell
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    caller.envs(environment).current_dir(place.path(""));
    let added = caller.output().unwrap();
    let _server = detached(&place);
    assert_eq!(&*added.stdout, b"1\n", "{added:?}");
    let lock = fs::File::open(place.path("lock")).unwrap();
    assert!(lock.try_lock().is_ok());
}

fn a_server_that_cannot_be_started_says_why() {
    let place = Place::new();
    fs::create_dir_all(place.path("state/dishrack/serve.journal")).unwrap();
    let said = refused(&place, &["add", "--start", "--", "true"]);
    assert!(
        said.contains("cannot be started") && said.contains("it is a folder"),
        "{said}"
    );
    let said = refused(&place, &["add", "--", "true"]);
    assert!(said.contains("add --start"), "{said}");
}

/// Says who it is, and waits until there is a file of the name of its word.
const HELD: &str = "echo $$ > \"pid-$0\"; echo \"begun $0\"; until [ -e \"go-$0\" ]; do sleep 0.01; done; echo \"over $0\"";

fn what_a_killed_server_had_begun_is_lost_and_the_rest_goes_on() {
    let place = Place::new();
    let server = serve(&place, &["-w", "1"]);
    for name in ["a", "b", "c"] {
        ask(
            &place,
            &["add", "--name", name, "--", "sh", "-c", HELD, name],
        );
    }
    place.let_go("a");
    ask(&place, &["wait", "1"]);
    until("the second is begun", || place.path("pid-b").exists());
    until("what it writes is there", || {
        ask(&place, &["logs", "2"]) == "begun b\n"
    });
    let pid: u32 = fs::read_to_string(place.path("pid-b"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    kill(server);
    let _server = serve(&place, &["-w", "1"]);
    assert!(!is_alive(pid));
    let lost = run(&place, &["wait", "2"]);
    assert_eq!(lost.status.code(), Some(137));
    let lost = show(&place, "2");
    let cause = lost["history"][0]["cause"].as_str().unwrap();
    assert!(cause.starts_with("lost: "), "{cause}");
    assert_eq!(
        (&lost["state"], &lost["attempts"]),
        (&json!("dead"), &json!(1))
    );
    assert_eq!(ask(&place, &["logs", "2"]), "begun b\n");
    // What was over stays so, and what waited was not touched.
    assert_eq!(ask(&place, &["logs", "1"]), "begun a\nover a\n");
    place.let_go("c");
    assert_eq!(run(&place, &["wait", "3"]).status.code(), Some(0));
    assert_eq!(show(&place, "3")["attempts"], 1);
    place.let_go("b");
    assert_eq!(ask(&place, &["retry", "2"]), "2 waits again\n");
    assert_eq!(run(&place, &["wait", "2"]).status.code(), Some(0));
}

fn what_was_lost_is_run_again_if_it_may_be_and_never_beside_itself() {
    let place = Place::new();
    // It leaves its group, and is known by its environment alone. It notices one that still runs.
    let script =
        "setsid -w sh -c 'grep -qs \"^State:.[^ZX]\" /proc/$(cat last 2>&1)/status && touch twice
        echo $$ > last; cp last pid-b; until [ -e go-b ]; do sleep 0.01; done'";
    let options = ["-w", "1", "--max-attempts", "3"];
    let mut server = serve(&place, &options);
    ask(&place, &["add", "--", "sh", "-c", script]);
    for lives in 1..3 {
        until("it is begun", || place.path("pid-b").exists());
        let pid = || fs::read_to_string(place.path("pid-b")).unwrap();
        until("it says who it is", || pid().ends_with('\n'));
        let pid: u32 = pid().trim().parse().unwrap();
        fs::remove_file(place.path("pid-b")).unwrap();
        kill(server);
        server = serve(&place, &options);
        assert!(!is_alive(pid), "life {lives}");
        until("it is begun again", || place.path("pid-b").exists());
        assert_eq!(show(&place, "1")["attempts"], lives + 1);
    }
    place.let_go("b");
    assert_eq!(run(&place, &["wait", "1"]).status.code(), Some(0));
    assert!(!place.path("twice").exists());
}

fn what_a_stop_ends_is_run_again() {
    let place = Place::new();
    let server = serve(&place, &["-w", "1", "--shutdown", "0.1"]);
    ask(&place, &["add", "--", "sh", "-c", HELD, "a"]);
    until("it is begun", || place.path("pid-a").exists());
    ask(&place, &["stop"]);
    assert_eq!(finish(server).0, Some(0));
    fs::remove_file(place.path("pid-a")).unwrap();
    let server = serve(&place, &["-w", "1"]);
    until("it is begun again", || place.path("pid-a").exists());
    assert_eq!(show(&place, "1")["attempts"], 1);
    place.let_go("a");
    assert_eq!(run(&place, &["wait", "1"]).status.code(), Some(0));
    drop(server);
}

fn a_stop_at_once_ends_with_143_and_leaves_what_was_begun() {
    let place = Place::new();
    let mut server = serve(&place, &["-w", "1"]);
    ask(&place, &["add", "--", "sh", "-c", HELD, "a"]);
    for _ in 0..5 {
        until("it is begun", || place.path("pid-a").exists());
        ask(&place, &["stop", "--now"]);
        assert_eq!(finish(server).0, Some(143));
        fs::remove_file(place.path("pid-a")).unwrap();
        server = serve(&place, &["-w", "1"]);
    }
    place.let_go("a");
    assert_eq!(run(&place, &["wait", "1"]).status.code(), Some(0));
    assert_eq!(show(&place, "1")["attempts"], 1);
}

/// Items that fail, of which the server says so, with names that fill its log.
fn the_log_of_a_detached_server_is_bounded() {
    const ITEMS: u64 = 700;
    let place = Place::new();
    ask(&place, &["add", "--start", "--", "true"]);
    let server = detached(&place);
    // One worker, so that they fail in their order.
    ask(&place, &["scale", "1"]);
    let name = "x".repeat(4000);
    let command = |n: u64| json!({"command": ["false"], "name": format!("{n} {name}")});
    let lines: Vec<String> = (0..ITEMS).map(|n| command(n).to_string()).collect();
    let target = "/v1/items?form=command";
    let body = lines.join("\n");
    let answer = crate::http::ask(&place.socket("serve"), "POST", target, body.as_bytes());
    assert_eq!(answer.json()["accepted"], ITEMS, "{}", answer.head);
    assert_eq!(run(&place, &["join"]).status.code(), Some(1));
    let log = |name: &str| fs::read_to_string(place.path("state/dishrack").join(name)).unwrap();
    until("all is said", || {
        log("serve.log").contains(&format!("{} xx", ITEMS - 1))
    });
    let (older, latest) = (log("serve.log.1"), log("serve.log"));
    for text in [&older, &latest] {
        assert!(text.len() < 2 << 20, "{} bytes", text.len());
    }
    // Nothing is missing in between.
    let all = older + &latest;
    let first = all.split(' ').next().unwrap().parse::<u64>();
    let first = first.unwrap_or_default();
    for n in first + 1..ITEMS {
        assert!(all.contains(&format!("\n{n} xx")), "{n}");
    }
    ask(&place, &["stop"]);
    assert!(!is_alive(server.0));
}

fn a_folder_that_is_gone_fails_its_own_item_alone() {
    let place = Place::new();
    let _server = serve(&place, &["-w", "1"]);
    ask(&place, &["pause"]);
    fs::create_dir(place.path("folder")).unwrap();
    ask(&place, &["add", "--workdir", "folder", "--", "true"]);
    ask(&place, &["add", "--", "true"]);
    fs::remove_dir(place.path("folder")).unwrap();
    ask(&place, &["resume"]);
    assert_eq!(run(&place, &["wait", "1"]).status.code(), Some(126));
    assert_eq!(run(&place, &["wait", "2"]).status.code(), Some(0));
}

fn a_text_on_a_queue_of_commands_is_refused_with_the_way_to_add_one() {
    let place = Place::new();
    let _server = serve(&place, &[]);
    let said = refused(&place, &["put", ":::", "hello"]);
    assert!(said.contains("nothing was put"), "{said}");
    assert!(said.contains("`supervisor add -- COMMAND`"), "{said}");
}

fn a_queue_of_a_command_stays_and_its_results_too() {
    let place = Place::new();
    let script = "echo \"out $1\"; echo \"err $1\" >&2; [ \"$1\" != bad ] || exit 3";
    let options = ["--", "sh", "-c", script, "_", "{}"];
    let server = serve(&place, &options);
    assert_eq!(
        ask(&place, &["join"]),
        "0 done, 0 dead; 0 retries, 0 dead letters\n"
    );
    ask(&place, &["put", ":::", "a", "bad"]);
    assert_eq!(run(&place, &["wait", "1"]).status.code(), Some(0));
    // An item of a COMMAND is done or dead, whatever its code is.
    assert_eq!(run(&place, &["wait", "2"]).status.code(), Some(1));
    assert_eq!(ask(&place, &["scale", "3"]), "3 workers\n");
    assert!(refused(&place, &["add", "--", "true"]).contains("no commands of their own"));
    assert_eq!(ask(&place, &["stop"]), "stopped\n");
    let (code, said) = finish(server);
    assert_eq!(code, Some(0));
    assert!(said.contains("1 of 2 jobs done, 1 dead"), "{said}");
    let server = serve(&place, &options);
    let output = run(&place, &["logs", "2"]);
    assert_eq!(
        (&*output.stdout, &*output.stderr),
        (&b"out bad\n"[..], &b"err bad\n"[..])
    );
    assert_eq!(
        show(&place, "1")["ended"]["exit"],
        json!({"code": 0, "signal": null})
    );
    ask(&place, &["put", ":::", "c"]);
    assert_eq!(run(&place, &["wait", "3"]).status.code(), Some(0));
    kill(server);
    let _server = serve(&place, &options);
    assert_eq!(ask(&place, &["logs", "3"]), "out c\n");
    let listed = ask(&place, &["list", "--state", "done"]);
    assert_eq!(listed, "1\tdone\ta\t1 attempt\n3\tdone\tc\t1 attempt\n");
}

fn a_journal_of_other_items_is_refused() {
    let place = Place::new();
    let journal = ["--journal", "kept.journal"];
    let server = serve(&place, &journal);
    ask(&place, &["add", "--", "true"]);
    ask(&place, &["wait", "1"]);
    ask(&place, &["stop"]);
    assert_eq!(finish(server).0, Some(0));
    let of_command = [&["serve"], &journal[..], &["--", "echo", "{}"]].concat();
    let said = refused(&place, &of_command);
    assert!(said.contains("commands of their own"), "{said}");
    let said = refused(
        &place,
        &["--journal", "kept.journal", "--", "echo", "{}", ":::", "a"],
    );
    assert!(said.contains("commands of their own"), "{said}");
    let server = serve(&place, &journal);
    assert_eq!(ask(&place, &["list"]), "1\tdone\ttrue\t1 attempt\n");
    drop(server);
}

fn a_queue_that_nobody_could_ask_is_not_served() {
    let place = Place::new();
    fs::write(place.path("dishrack"), "a file").unwrap();
    let said = refused(&place, &["serve"]);
    assert!(said.contains("cannot be asked by anybody"), "{said}");
    assert!(!place.path("state/dishrack/serve.journal").exists());
}

fn what_makes_no_sense_is_refused() {
    let place = Place::new();
    for (arguments, expected) in [
        (
            &["serve", "--tag", "--", "echo"][..],
            "--tag: it is not for a queue that stays",
        ),
        (&["serve", "--no-control"], "--no-control"),
        (&["serve", "--priority", "{}"], "supervisor add"),
        (&["serve", "--deadline", "{}"], "supervisor add"),
        (&["serve", "--dry", "1s"], "--dry"),
        (&["serve", "--env", "A=b"], "needs a COMMAND"),
        (&["serve", "--name", "a/b"], "no name for a run"),
        (&["serve", "--", "echo", ":::", "a"], ":::"),
        (&["serve", "--"], "no COMMAND"),
        (&["add", "--workdir", "nowhere", "--", "true"], "nowhere"),
        (&["add", "--env", "NO_SUCH", "--", "true"], "not set here"),
        (&["add", "--key", "", "--", "true"], "--key"),
        (&["add", "--", ""], "no program"),
        (
            &["add", "--", "sort /etc/passwd | head"],
            "have a shell run it",
        ),
        (&["add", "--", "./encode a.mov"], "leave out the quotes"),
        (&["add", "sort a | head"], "add -- sh -c 'sort a | head'"),
        (&["add"], "COMMAND"),
    ] {
        let said = refused(&place, arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    let unset = command(&place, &["serve"])
        .env_remove("XDG_STATE_HOME")
        .env_remove("HOME")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&unset.stderr).contains("--journal FILE"));
    let _server = serve(&place, &[]);
    ask(&place, &["add", "--key", "k", "--", "true"]);
    let said = refused(&place, &["add", "--key", "k", "--", "false"]);
    assert!(said.contains("used for other items"), "{said}");
    let target = "/v1/items";
    let answer = crate::http::ask(&place.socket("serve"), "POST", target, b"{\"command\": 7}");
    assert_eq!((answer.status, &*answer.code()), (400, "bad_item"));
}

/// The number of clients that add commands at the same time.
const CLIENTS: usize = 4;

/// The variable with the number of kills: 200 are a long test.
const KILLS: &str = "DISHRACK_SERVE_KILLS";

/// Says that it is over when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Each client adds commands, each with a key of its own, until it is told the number of the item;
/// and then a last time, to be told the same. The server is killed again and again meanwhile.
fn a_key_is_one_item_however_often_the_server_is_killed() {
    let kills = std::env::var(KILLS).map_or(12, |kills| kills.parse().unwrap());
    let place = Place::new();
    let (added, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let add_all = |client: usize| {
        let mut numbers = BTreeMap::new();
        for n in 0.. {
            if is_over.load(Ordering::SeqCst) {
                break;
            }
            let key = format!("{client}-{n}");
            let number = add_until_told(&place, &key);
            added.fetch_add(1, Ordering::SeqCst);
            assert_eq!(add_until_told(&place, &key), number, "{key}");
            numbers.insert(key, number);
        }
        numbers
    };
    let numbers: BTreeMap<String, u64> = std::thread::scope(|scope| {
        // Clients end with the test, however that ends.
        let over = Over(&is_over);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || add_all(client)))
            .collect();
        for life in 0..kills {
            let server = serve(&place, &["-w", "2"]);
            let before = added.load(Ordering::SeqCst);
            until("some are added in this life", || {
                added.load(Ordering::SeqCst) > before + life % 5
            });
            kill(server);
        }
        let last = serve(&place, &["-w", "2"]);
        drop(over);
        let numbers = clients
            .into_iter()
            .flat_map(|client| client.join().unwrap());
        let numbers = numbers.collect();
        drop(last);
        numbers
    });
    each_key_is_one_item_with_one_end(&place, &numbers, kills);
}

fn each_key_is_one_item_with_one_end(place: &Place, numbers: &BTreeMap<String, u64>, kills: usize) {
    let _server = serve(place, &["-w", "2"]);
    let joined = run(place, &["join"]);
    assert!(matches!(joined.status.code(), Some(0 | 1)), "{joined:?}");
    let items = ask(place, &["list", "--format", "json"]);
    let items: Vec<Value> = items
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // Each key is one item, of the number that was told.
    let names: BTreeMap<String, u64> = items
        .iter()
        .map(|item| {
            (
                item["item"].as_str().unwrap().to_owned(),
                item["number"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(items.len(), names.len());
    assert_eq!(&names, numbers);
    // Each has one end, was run once at most, and not for nothing if it is done.
    let ran = fs::read_to_string(place.path("ran")).unwrap();
    let count = |key: &str| ran.lines().filter(|line| *line == key).count();
    for item in &items {
        let (key, state) = (
            item["item"].as_str().unwrap(),
            item["state"].as_str().unwrap(),
        );
        match state {
            "done" => assert_eq!(count(key), 1, "{item}"),
            "dead" => assert!(count(key) <= 1, "{item}"),
            other => panic!("{other}: {item}"),
        }
        assert_eq!(item["attempts"], 1, "{item}");
    }
    let is_done = |item: &&Value| item["state"] == "done";
    assert!(
        items.iter().filter(is_done).count() > kills / 2,
        "{items:?}"
    );
}

/// Adds a command with this key until a server says that it has it.
fn add_until_told(place: &Place, key: &str) -> u64 {
    let script = "echo \"$0\" >> ran";
    let words = [
        "add", "--at", "serve", "--key", key, "--name", key, "--", "sh", "-c", script, key,
    ];
    let mut number = None;
    until("a server takes it", || {
        let output = run(place, &words);
        let text = String::from_utf8(output.stdout).unwrap();
        number = output
            .status
            .success()
            .then(|| text.trim().parse().unwrap());
        number.is_some()
    });
    number.unwrap()
}
