//! The command line's refusals, and the secrets that it does not show.

use std::fs;

use super::{Run, STREAM, Said, Stage, said, supervisor};
use crate::deadline::until;
use crate::port::Port;
use crate::redis_server::Options;

crate::timely_trials!(
    options_that_make_no_sense_with_others_are_refused,
    options_that_make_no_sense_alone_are_refused,
    a_lease_that_others_rely_on_is_not_changed,
    somewhere_a_redis_must_be_named,
    a_server_that_is_not_there_is_told,
    what_is_no_address_is_told_without_the_password,
    a_wrong_password_is_told_without_it,
    a_key_that_is_no_stream_is_told,
    a_stream_of_something_else_is_told,
    passwords_are_shown_nowhere,
);

/// Checks that it is a user's error in these words, and that nothing is in Redis or in the folder.
fn assert_refused(stage: &Stage, what: &str, said: &Said, words: &str) {
    assert_eq!(said.code, Some(2), "{what}: {said:?}");
    assert!(said.err.contains(words), "{what}: {said:?}");
    assert_eq!(said.out, "", "{what}");
    assert_eq!(stage.redis_cli(&["dbsize"]), "0", "{what}");
    assert_eq!(fs::read_dir(&stage.folder).unwrap().count(), 0, "{what}");
}

fn options_that_make_no_sense_with_others_are_refused() {
    let stage = Stage::new();
    let cases = [
        ("", "--journal x.journal", "--journal: with --redis"),
        (
            "",
            "--journal x.journal -- true ::: a",
            "--journal: with --redis",
        ),
        ("", "--direct", "--direct: with --redis"),
        ("", "--delay 1s -- true ::: a", "--delay: with --redis"),
        (
            "",
            "--keep-order -- true ::: a",
            "--keep-order: with --redis",
        ),
        (
            "",
            "--halt now,fail=10% -- true ::: a",
            "--halt now,fail=10%: with --redis",
        ),
        ("work", "--delay 1s -- true", "--delay: with --redis"),
        ("work", "-k -- true", "--keep-order: with --redis"),
        (
            "work",
            "--halt soon,fail=1% -- true",
            "--halt soon,fail=1%: with --redis",
        ),
        ("work", "--dry-run -- true", "--dry-run: there is nothing"),
        ("work", "-- true ::: a", "::: is not for this"),
        ("work", "::: a", "supervisor put ::: ITEM"),
        ("work", "true", "supervisor work -- true"),
        ("work", "--", "there is no COMMAND"),
        ("work", "--shell", "--shell: needs a COMMAND"),
        ("work", "--dry 1s -- true", "--dry: is for dishes"),
        (
            "work",
            "--mode threads -- true",
            "--mode threads: a COMMAND",
        ),
        ("work", "--journal x.journal", "--journal"),
        ("work", "--direct", "--direct"),
        ("work", "--input x", "--input"),
        ("work", "--dishes 3", "--dishes"),
        ("work", "-w 0", "--workers 0"),
        ("work", "--lease 10ms", "a lease of less than 100ms"),
        ("work", "--lease soon", "--lease"),
        ("put", "a", "a: items follow :::"),
        ("put", "--input x ::: a", "--input: the items follow :::"),
        ("put", "--dishes 1 ::: a", "--dishes: the items follow :::"),
        ("put", "--capacity few ::: a", "--capacity"),
        ("join", "a", "a"),
        ("dead list", "--journal x.journal", "--journal"),
        ("dead retry", "", "required"),
    ];
    for (subcommand, options, words) in cases {
        let options: Vec<&str> = options.split_whitespace().collect();
        let said = stage.say(subcommand, &options);
        let what = format!("{subcommand} {options:?}");
        assert_refused(&stage, &what, &said, words);
    }
}

fn options_that_make_no_sense_alone_are_refused() {
    for option in ["--stream jobs", "--lease 1s", "--replicas 1"] {
        let mut command = supervisor();
        command.args(option.split_whitespace());
        let said = said(command);
        assert_eq!(said.code, Some(2), "{option}: {said:?}");
        said.tells("needs --redis URL");
    }
}

fn a_lease_that_others_rely_on_is_not_changed() {
    let stage = Stage::new();
    let work = stage.start("work", &["--lease", "1h", "--", "echo"]);
    stage.put(&["a"]);
    assert_eq!(work.line().as_deref(), Some("a"));
    stage
        .say("work", &["--lease", "10s", "--", "echo"])
        .ends(2)
        .tells("used with another lease");
    assert_eq!(stage.status()["lease_ms"], 3_600_000);
}

fn somewhere_a_redis_must_be_named() {
    // No run of this user is there either, which some could be about.
    let nowhere = tempfile::tempdir().unwrap();
    for (subcommand, words) in [
        ("put", "and a stream by --redis URL"),
        ("work", "--redis URL is needed"),
        ("join", "and a stream by --redis URL"),
        ("status", "and a stream by --redis URL"),
        ("dead list", "--redis URL is needed"),
    ] {
        let mut command = supervisor();
        command.args(subcommand.split_whitespace());
        // The same holds if a variable is emptied rather than unset.
        command.env("REDIS_URL", "");
        command.env("XDG_RUNTIME_DIR", nowhere.path());
        let said = said(command);
        assert_eq!(said.code, Some(2), "{subcommand}: {said:?}");
        said.tells(words);
    }
}

/// Tries every way to use a stream, with this address.
fn each_with(url: &str) -> Vec<Said> {
    let ways = [
        "put ::: a",
        "work -- true",
        "join",
        "status",
        "dead list",
        "--dishes 1",
    ];
    let say = |way: &str| {
        let mut command = supervisor();
        let (subcommand, rest) = match way.split_once(' ') {
            _ if way.starts_with("--") => ("", way),
            Some(("dead", rest)) => ("dead", rest),
            Some((subcommand, rest)) => (subcommand, rest),
            None => (way, ""),
        };
        let (verb, rest) = match subcommand {
            "dead" => (rest, ""),
            _ => ("", rest),
        };
        let words = [subcommand, verb]
            .into_iter()
            .filter(|word| !word.is_empty());
        command
            .args(words)
            .args(["--redis", url, "--stream", STREAM]);
        command.args(rest.split_whitespace());
        said(command)
    };
    ways.into_iter().map(say).collect()
}

fn a_server_that_is_not_there_is_told() {
    let nobody = Port::reserve();
    let url = format!("redis://:secret@127.0.0.1:{}", nobody.number());
    for said in each_with(&url) {
        said.ends(2);
        let place = format!("redis at 127.0.0.1:{} cannot be reached", nobody.number());
        said.tells(&place).hides("secret");
    }
}

fn what_is_no_address_is_told_without_the_password() {
    for url in [
        "http://:secret@localhost",
        "user:secret@localhost",
        "redis://:secret#@localhost:x",
        "redis://:secret@localhost/zero",
    ] {
        for said in each_with(url) {
            assert_eq!(said.code, Some(2), "{url}: {said:?}");
            assert!(
                said.err.contains("is no address of Redis"),
                "{url}: {said:?}"
            );
            assert!(!said.err.contains("secret"), "{url}: {said:?}");
        }
    }
}

fn a_wrong_password_is_told_without_it() {
    let stage = Stage::with(Options::default().password("right"));
    let port = stage.server.port();
    for said in each_with(&format!("redis://:secret@127.0.0.1:{port}")) {
        said.ends(2)
            .tells("refuses the user or the password")
            .hides("secret");
    }
    for said in each_with(&format!("redis://127.0.0.1:{port}")) {
        said.ends(2).tells("wants a password");
    }
}

fn a_key_that_is_no_stream_is_told() {
    let stage = Stage::new();
    stage.redis_cli(&["set", STREAM, "something"]);
    for said in each_with(&stage.server.url()) {
        said.ends(2).tells("holds something that is no stream");
    }
    assert_eq!(stage.redis_cli(&["get", STREAM]), "something");
}

fn a_stream_of_something_else_is_told() {
    let stage = Stage::new();
    let options = dishrack::RedisOptions::new(stage.server.url(), STREAM);
    let numbers =
        dishrack::JoinableQueue::<u64>::shared(&options, dishrack::Options::default()).unwrap();
    numbers.put(&7).unwrap();
    for way in [&["put", ":::", "a"][..], &["work", "--until-done"]] {
        stage
            .say(way[0], &way[1..])
            .ends(2)
            .tells("keeps items of type u64");
    }
    // The counts may be asked for from anywhere.
    assert_eq!(stage.status()["untaken"], 1);
}

/// Returns the line of a process in `ps`, once it has a title.
fn shown(run: &Run) -> String {
    let title = |pid: u32| {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    until("it has a name", || {
        title(run.pid()).starts_with("supervisor ")
    });
    title(run.pid())
}

fn passwords_are_shown_nowhere() {
    let stage = Stage::with(Options::default().password("secret"));
    stage.put(&["a"]);
    let waiting = [
        ("put", &["--capacity", "1", ":::", "b"][..]),
        ("join", &[]),
        ("status", &["--interval", "1h"]),
    ];
    for (subcommand, options) in waiting {
        let run = stage.start(subcommand, options);
        let title = shown(&run);
        assert!(!title.contains("secret"), "{title}");
        assert!(
            title.contains(&format!("{subcommand}: stream jobs at redis://127.0.0.1")),
            "{title}"
        );
    }
    for (subcommand, format) in [("work", "text"), ("work", "json"), ("", "json")] {
        let mut run = stage.start(subcommand, &["--dry", "0", "--format", format]);
        let title = shown(&run);
        assert!(!title.contains("secret"), "{title}");
        if subcommand == "work" {
            stage.await_status("unfinished", 0);
            run.signal(nix::sys::signal::Signal::SIGTERM);
        }
        let out = run.rest().concat();
        let (_, err) = run.end();
        assert!(
            !out.contains("secret") && !err.contains("secret"),
            "{out}{err}"
        );
    }
}
