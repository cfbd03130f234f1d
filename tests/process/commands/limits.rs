//! What may run at the same time: slots and keys of commands, whatever is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::place::Place;
use crate::said::{sh, words};
use crate::support::{Run, is_alive, named, until};

crate::trials!(
    no_two_commands_have_the_same_slot,
    a_command_has_one_slot_of_each_kind,
    a_slot_comes_back_from_a_killed_worker,
    what_a_killed_command_has_started_does_not_keep_its_slot,
    slots_are_free_again_after_a_time_limit,
    the_environment_of_the_run_gives_way_to_what_was_asked_for,
    items_of_a_key_run_one_at_a_time_and_in_their_order,
    so_many_of_a_key_run_as_may,
    an_item_says_that_it_waits_for_its_key,
    slots_and_keys_that_make_no_sense_are_refused,
    a_journal_goes_on_with_keys_and_slots,
    a_higher_priority_goes_first_and_a_lower_one_in_between,
    a_priority_that_is_none_is_refused,
    a_wrong_line_of_a_pipe_is_told_at_once,
    starts_keep_to_the_rate_and_retries_count,
    a_rate_that_makes_no_sense_is_refused,
    an_item_begins_at_its_time_and_not_after_its_deadline,
    times_that_are_none_are_refused,
    a_journal_keeps_times_and_priorities,
    duplicates_are_left_out_and_counted,
    duplicates_take_no_room_from_others,
    a_run_leaves_out_what_clients_put_twice,
    unique_keys_that_make_no_sense_are_refused,
);

/// Takes the lock of its slot, or fails.
const LOCKED: &str = "exec 9>lock-$1; flock -n 9 || exit 9; sleep 0.02; echo $0 $1 >> seen";

fn no_two_commands_have_the_same_slot() {
    let place = Place::new();
    let items: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let options = "-w 6 --slot board=a,b,c";
    let line = format!("{{}} {{slot:board}} ::: {}", items.join(" "));
    place.run(&sh(options, LOCKED, &line), b"").ends(0);
    let seen = place.text("seen");
    assert_eq!(seen.lines().count(), 40);
    let used: std::collections::BTreeSet<&str> = seen
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .collect();
    assert_eq!(used.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
}

fn a_command_has_one_slot_of_each_kind() {
    let place = Place::new();
    let script = "echo $CUDA_VISIBLE_DEVICES/$SUPERVISOR_SLOT_GPU/$SUPERVISOR_SLOT_LIC_X/$1";
    let options = "-q -k -w 4 --slot gpu:2=0,1,2,3 --slot lic-x=one";
    let said = place.run(&sh(options, script, "{} {slot:gpu} ::: a b"), b"");
    said.ends(0).prints("0,1/0,1/one/0,1\n0,1/0,1/one/0,1\n");
    let said = place.run(
        &[
            "--dry-run",
            "-w",
            "4",
            "--slot",
            "gpu=0,1",
            "--",
            "echo",
            "{} {slot:gpu}",
            ":::",
            "a",
            "b",
            "c",
        ],
        b"",
    );
    said.ends(0).prints("echo 'a 0'\necho 'b 1'\necho 'c 0'\n");
    // Without slots the variables are not there.
    let script = "echo ${CUDA_VISIBLE_DEVICES-none} ${SUPERVISOR_SLOT_GPU-none}";
    let mut command = place.supervisor(&sh("-q", script, "{} ::: a"));
    command.env_remove("CUDA_VISIBLE_DEVICES");
    let said = super::feed(&mut command, b"");
    said.ends(0).prints("none none\n");
}

fn a_slot_comes_back_from_a_killed_worker() {
    let place = Place::new();
    // Each worker is killed at its command's first attempt, and its command with it.
    let script = format!("test -e $0-$1-tried || {{ > $0-tried; }}; {LOCKED}");
    let script =
        format!("test -e $0-tried || {{ > $0-tried; kill -9 $PPID; read x < never; }}; {script}");
    place.gate("never");
    let options = "-w 4 --slot board=a,b";
    let line = "{} {slot:board} ::: 1 2 3 4 5 6";
    let events = place.watch(&sh(options, &script, line)).ends(0);
    assert_eq!(named(&events, "retry").len(), 6, "{events:?}");
    assert_eq!(place.text("seen").lines().count(), 6);
}

fn what_a_killed_command_has_started_does_not_keep_its_slot() {
    let place = Place::new();
    // A shell is killed, and not what it has started, which has its lock as well.
    let script = "exec 9>lock-$1; flock -n 9 || exit 9
        test -e $0-left || { sleep 600 & echo $! > $0-left; kill -9 $$; }
        echo $0 $1 >> seen";
    let options = "-w 3 --slot board=a,b";
    let line = "{} {slot:board} ::: 1 2 3 4 5 6";
    let events = place.watch(&sh(options, script, line)).ends(0);
    assert_eq!(named(&events, "retry").len(), 6, "{events:?}");
    assert_eq!(place.text("seen").lines().count(), 6);
    for item in 1..=6 {
        let left = place.text(&format!("{item}-left"));
        assert!(!is_alive(left.trim().parse().unwrap()), "{item}");
    }
}

fn slots_are_free_again_after_a_time_limit() {
    let place = Place::new();
    place.gate("never");
    let script = "test $0 != 1 || read x < never; echo $0 $1 >> seen";
    let options = "-q -w 2 --slot board=a --timeout 3s";
    place
        .run(&sh(options, script, "{} {slot:board} ::: 1 2 3"), b"")
        .ends(1);
    assert_eq!(place.text("seen"), "2 a\n3 a\n");
}

fn the_environment_of_the_run_gives_way_to_what_was_asked_for() {
    let place = Place::new();
    let script = "echo $CUDA_VISIBLE_DEVICES";
    let mut command = place.supervisor(&sh("-q --slot gpu=7", script, "{} ::: a"));
    command
        .env("CUDA_VISIBLE_DEVICES", "0,1")
        .stdin(Stdio::null());
    super::feed(&mut command, b"").ends(0).prints("7\n");
    let options = "-q --slot gpu=7 --env CUDA_VISIBLE_DEVICES=mine";
    let said = place.run(&sh(options, script, "{} ::: a"), b"");
    said.ends(0).prints("mine\n");
}

fn items_of_a_key_run_one_at_a_time_and_in_their_order() {
    let place = Place::new();
    place.gate("never");
    // Some fail at their first attempt, and some have their worker killed.
    let script = "k=${0%%-*} n=${0##*-}
        mkdir busy-$k || exit 9
        sleep 0.01
        test -e $0-tried || test $n != 2 || { > $0-tried; rmdir busy-$k; exit 1; }
        test -e $0-tried || test $n != 3 || { > $0-tried; rmdir busy-$k; kill -9 $PPID; read x < never; }
        echo $n >> $k.seen
        rmdir busy-$k";
    let mut items = Vec::new();
    for n in 1..=6 {
        items.extend(["a", "b", "c"].map(|key| format!("{key}/{key}-{n}")));
    }
    let options = "-w 5 --key {//} --max-attempts 2 --backoff 20ms";
    let line = format!("{{/}} ::: {}", items.join(" "));
    let events = place.watch(&sh(options, script, &line)).ends(0);
    assert_eq!(named(&events, "retry").len(), 6, "{events:?}");
    for key in ["a", "b", "c"] {
        assert_eq!(
            place.text(&format!("{key}.seen")),
            "1\n2\n3\n4\n5\n6\n",
            "{key}"
        );
    }
}

fn so_many_of_a_key_run_as_may() {
    let place = Place::new();
    place.gate("both");
    // The two of a key wait for each other; a third one finds them gone.
    let script = "case $0 in *1) echo > both;; *2) read x < both;; esac; mkdir $0-seen";
    let options = "-w 3 --json --key {k} --per-key 2";
    let items =
        "{\"k\":\"a\",\"n\":\"a1\"}\n{\"k\":\"a\",\"n\":\"a2\"}\n{\"k\":\"a\",\"n\":\"a3\"}\n";
    let said = place.run(&sh(options, script, "{n}"), items.as_bytes());
    said.ends(0);
}

fn an_item_says_that_it_waits_for_its_key() {
    let place = Place::new();
    place.gate("go");
    let control = place.path("control");
    let control = control.to_str().unwrap();
    let options = format!("-w 3 --control {control} --key {{//}}");
    let script = "test $0 != a/1 || read x < go";
    let mut run = place.watch(&sh(&options, script, "{} ::: a/1 a/2 b/3"));
    run.await_event("running");
    run.await_event("done");
    let said = place.run(&["list", "--at", control], b"");
    let line = said
        .ends(0)
        .out
        .lines()
        .find(|line| line.starts_with("2\t"))
        .unwrap();
    assert!(line.ends_with("waits for its key"), "{line}");
    let said = place.run(&["show", "2", "--at", control], b"");
    assert!(
        said.ends(0).out.contains("waits for: its key"),
        "{}",
        said.out
    );
    let said = place.run(&["show", "2", "--format", "json", "--at", control], b"");
    assert!(
        said.ends(0).out.contains("\"waits_for\":\"key\""),
        "{}",
        said.out
    );
    place.open_gate("go");
    run.ends(0);
}

fn slots_and_keys_that_make_no_sense_are_refused() {
    let place = Place::new();
    let refused = |options, line, why| {
        place.run(&sh(options, "true", line), b"").is_refused(why);
    };
    refused("--slot gpu", "::: a", "expected NAME=VALUE");
    refused(
        "--slot gpu=0 --slot gpu=1",
        "::: a",
        "--slot gpu: it is there twice",
    );
    refused(
        "",
        "{slot:gpu} ::: a",
        "{slot:gpu}: no --slot gpu=... says what there is",
    );
    refused(
        "--slot b=0",
        "{slot:gpu} ::: a",
        "{slot:gpu}: no --slot gpu=... says what there is",
    );
    refused(
        "--slot gpu=0 --copies 2",
        "::: a",
        "--copies: an item that has a slot, a key, a priority or a time runs once",
    );
    refused(
        "--key {} --hedge-after 1s",
        "::: a",
        "--hedge-after: an item that has a slot, a key",
    );
    refused(
        "--key x",
        "::: a",
        "--key x: all items would have the same key",
    );
    refused(
        "--key {#}",
        "::: a",
        "make no key: it must follow from the item",
    );
    refused("--per-key 2", "::: a", "--key");
    refused(
        "--redis redis://127.0.0.1:1 --priority {}",
        "::: 1",
        "--priority: with --redis items are handed out in the order of the stream",
    );
    let redis = "--redis redis://127.0.0.1:1 --key {}";
    refused(
        redis,
        "::: a",
        "--key: with --redis nobody knows which keys run elsewhere",
    );
    let lacks = place.run(&sh("--json --key {k}", "true", "{n}"), b"{\"n\":1}\n");
    lacks.is_refused("it has no member \"k\" for {k}");
    let dishes = words("--dishes 3 --slot gpu=0");
    place
        .run(&dishes, b"")
        .is_refused("--slot: needs a COMMAND, after --");
}

fn a_journal_goes_on_with_keys_and_slots() {
    let place = Place::new();
    place.gate("never");
    let script = "test -e second || { echo $0 >> first; read x < never; }
        mkdir busy || exit 9; sleep 0.01; echo $0 $1 >> seen; rmdir busy";
    let options = "-w 3 --journal j --key {//} --slot board=a,b --max-attempts 2";
    let line = "{} {slot:board} ::: k/1 k/2 k/3 k/4";
    let mut run = place.watch(&sh(options, script, line));
    until("it has begun", || !place.text("first").is_empty());
    run.kill();
    place.write("second", b"");
    place.run(&sh(options, script, line), b"").ends(0);
    let seen = place.text("seen");
    let items: Vec<&str> = seen.lines().map(|line| &line[..3]).collect();
    assert_eq!(items, ["k/1", "k/2", "k/3", "k/4"]);
}

fn a_higher_priority_goes_first_and_a_lower_one_in_between() {
    let place = Place::new();
    place.gate("go");
    // The first one waits until all have been put.
    let script = "test $0 != first || read x < go; echo $0 >> seen";
    let mut lines = vec![r#"{"n":"first","p":9}"#.to_owned()];
    lines.extend((0..3).map(|n| format!("{{\"n\":\"low-{n}\",\"p\":-1}}")));
    lines.extend((0..50).map(|n| format!("{{\"n\":\"high-{n}\",\"p\":7}}")));
    place.write("items", (lines.join("\n") + "\n").as_bytes());
    let control = place.path("control");
    let control = control.to_str().unwrap();
    let options = format!("-w 1 --json --priority {{p}} --input items --control {control}");
    let mut run = place.watch(&sh(&options, script, "{n}"));
    run.await_event("running");
    until("all were put", || {
        let said = place.run(&["status", "--format", "json", "--at", control], b"");
        said.out.contains("\"accepted\":54")
    });
    place.open_gate("go");
    run.ends(0);
    let seen = place.text("seen");
    let seen: Vec<&str> = seen.lines().collect();
    assert_eq!(seen[..3], ["first", "high-0", "high-1"], "{seen:?}");
    let at = |name| seen.iter().position(|one| *one == name).unwrap();
    let (low, next) = (at("low-0"), at("low-1"));
    assert!((30..=34).contains(&low), "low-0 at {low}: {seen:?}");
    assert!(next > 50, "low-1 at {next}: {seen:?}");
}

fn a_priority_that_is_none_is_refused() {
    let place = Place::new();
    let refused = |options, line, why| {
        place
            .run(&sh(options, "true", line), b"")
            .ends(2)
            .tells(why);
    };
    refused(
        "--priority 5",
        "::: a",
        "--priority 5: it must follow from the item",
    );
    refused(
        "--priority {}",
        "::: a",
        "its priority \"a\" is no whole number from -128 to 127",
    );
    refused(
        "--priority {}",
        "::: 128",
        "its priority \"128\" is no whole number",
    );
    for option in ["--key", "--unique", "--deadline"] {
        let words = [option, "{3}", "-C", ",", "--", "echo", ":::", "a,b,", "a,b"];
        place
            .run(&words, b"")
            .is_refused(&format!("it has no argument for {{3}} ({option})"));
    }
    // Nothing is run, whichever one is wrong.
    let echo = ["--priority", "{}", "--", "echo", "{}", ":::", "1", "2", "x"];
    place.run(&echo, b"").is_refused("priority \"x\" is no");
    let json = place.run(&sh("--json --priority {p}", "true", "{n}"), b"{\"n\":1}\n");
    json.is_refused("it has no member \"p\" for {p}");
}

fn a_wrong_line_of_a_pipe_is_told_at_once() {
    let place = Place::new();
    place.gate("end");
    let words = ["-q", "--priority", "{}", "--", "sh", "-c", "read x <end"];
    let mut command = place.supervisor(&words);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut run = Run::of(command);
    let mut stdin = run.child.stdin.take().unwrap();
    stdin.write_all(b"1\nx\n2\n").unwrap();
    let mut told = String::new();
    let mut stderr = BufReader::new(run.child.stderr.take().unwrap());
    stderr.read_line(&mut told).unwrap();
    assert!(told.contains("line 2: its priority \"x\" is no"), "{told}");
    place.open_gate("end");
    assert_eq!(run.child.wait().unwrap().code(), Some(2));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("priority"), "{rest}");
}

fn starts_keep_to_the_rate_and_retries_count() {
    let place = Place::new();
    let script = "date +%s%N >> seen; test $0 != a || test -e tried || { > tried; exit 1; }";
    let options = "-w 4 --rate 10/s --burst 2 --max-attempts 2";
    place
        .run(&sh(options, script, "{} ::: a b c d e"), b"")
        .ends(0);
    let seen = place.text("seen");
    let mut seen: Vec<u64> = seen.lines().map(|line| line.parse().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen.len(), 6, "a is run twice");
    // Four after a burst of two take 400 ms, less what the first one was late.
    let took = seen[5] - seen[0];
    assert!(took > 200_000_000, "{took} ns: {seen:?}");
}

fn a_rate_that_makes_no_sense_is_refused() {
    let place = Place::new();
    let refused = |options, why| {
        place
            .run(&sh(options, "true", "::: a"), b"")
            .is_refused(why);
    };
    refused(
        "--rate fast",
        "expected a rate such as 10/s, 90/m or 1000/h",
    );
    refused("--rate 0/s", "expected a rate such as 10/s");
    refused("--burst 3", "--rate");
    let inline = ["--mode", "sequential", "--rate", "1/s"];
    place
        .run(&inline, b"")
        .is_refused("--rate: in --mode sequential nobody is held back");
}

/// Returns the time that is so many milliseconds from now, in seconds since 1970.
fn in_ms(ms: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let then = i64::try_from(now.as_millis()).unwrap() + ms;
    format!("{}.{:03}", then / 1000, then % 1000)
}

fn an_item_begins_at_its_time_and_not_after_its_deadline() {
    let place = Place::new();
    // Far enough away for the other one to have begun on a busy machine.
    let (early, late) = (in_ms(5000), in_ms(-1000));
    let items = format!(
        "{{\"n\":\"early\",\"t\":{early},\"d\":null}}
{{\"n\":\"late\",\"t\":null,\"d\":{late}}}
{{\"n\":\"usual\",\"t\":\"\",\"d\":\"2999-01-01T00:00:00Z\"}}
"
    );
    let script = "echo \"$0 $(date +%s.%N)\" >> seen";
    place.write("items", items.as_bytes());
    let options = "-w 1 --json --not-before {t} --deadline {d} --input items --max-attempts 3";
    let events = place.watch(&sh(options, script, "{n}")).ends(1);
    let dead = named(&events, "dead");
    assert_eq!(dead.len(), 1, "{events:?}");
    assert_eq!(dead[0]["cause"], "its deadline came before it was begun");
    let seen = place.text("seen");
    let seen: Vec<(&str, f64)> = seen
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, time)| (name, time.parse().unwrap()))
        .collect();
    let names: Vec<&str> = seen.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["usual", "early"]);
    assert!(
        seen[1].1 >= early.parse().unwrap(),
        "{seen:?}, not before {early}"
    );
}

fn times_that_are_none_are_refused() {
    let place = Place::new();
    let why = "\"soon\" is no time such as 2026-12-01T08:00:00Z";
    for option in ["--not-before", "--deadline"] {
        let options = format!("{option} {{}}");
        place
            .run(&sh(&options, "true", "::: soon"), b"")
            .is_refused(why);
        place
            .run(&sh(&options, "true", "::: 0 1e19"), b"")
            .is_refused("\"1e19\" is no time");
        let options = format!("{option} 12:00");
        let why = format!("{option} 12:00: it must follow from the item");
        place
            .run(&sh(&options, "true", "::: a"), b"")
            .is_refused(&why);
    }
}

fn a_journal_keeps_times_and_priorities() {
    let place = Place::new();
    place.gate("never");
    let deadline = in_ms(1500);
    let items = format!(
        "{{\"n\":\"first\",\"p\":9,\"d\":\"\"}}
{{\"n\":\"low\",\"p\":-1,\"d\":\"\"}}
{{\"n\":\"late\",\"p\":5,\"d\":{deadline}}}
{{\"n\":\"high\",\"p\":7,\"d\":\"\"}}
"
    );
    place.write("items", items.as_bytes());
    let script = "test -e second || { echo > begun; read x < never; }; echo $0 >> seen";
    let options = "-w 1 --json --priority {p} --deadline {d} --input items --journal j";
    let mut run = place.watch(&sh(options, script, "{n}"));
    until("the first one has begun", || {
        !place.text("begun").is_empty()
    });
    run.kill();
    place.write("second", b"");
    until("the deadline has come", || in_ms(0) > deadline);
    let said = place.run(&sh(options, script, "{n}"), b"");
    said.ends(1).tells("its deadline came before it was begun");
    let seen = place.text("seen");
    let seen: Vec<&str> = seen.lines().filter(|name| *name != "first").collect();
    assert_eq!(seen, ["high", "low"]);
}

fn duplicates_are_left_out_and_counted() {
    let place = Place::new();
    place.gate("go");
    // The last item lets the first one end.
    let script = "case $0 in a) read x < go;; end) echo > go;; esac; echo $0 >> seen";
    let items = b"a\nb-1\na\nb-2\na\nend\n";
    for options in ["", "--journal j --unique-for 1h"] {
        place.write("seen", b"");
        let options = format!("-w 2 --unique {{}} {options}");
        let said = place.run(&sh(&options, script, "{}"), items);
        said.ends(0).tells("4 of 4 jobs done");
        said.tells("2 items were not put: they are duplicates of others, the last one of item 1");
        let seen = place.text("seen");
        let mut seen: Vec<&str> = seen.lines().collect();
        seen.sort_unstable();
        assert_eq!(seen, ["a", "b-1", "b-2", "end"], "{options}");
    }
}

fn duplicates_take_no_room_from_others() {
    let place = Place::new();
    place.gate("go");
    let script = "case $0 in end*) echo > go;; *) read x < go;; esac";
    // Many small ones, and large ones with more bytes together than may be under way.
    for (count, bytes) in [(5000, 10), (2200, 16_000)] {
        let item = "a".repeat(bytes) + "\n";
        place.write("items", (item.repeat(count) + "end\n").as_bytes());
        let said = place.run(&sh("-w 2 --unique {} --input items", script, "{}"), b"");
        said.ends(0).tells("2 of 2 jobs done");
        said.tells(&format!("{} items were not put", count - 1));
    }
}

fn a_run_leaves_out_what_clients_put_twice() {
    let place = Place::new();
    place.gate("go-1");
    place.gate("go-b");
    let control = place.path("control");
    let control = control.to_str().unwrap();
    let options = format!("-w 2 --json --unique {{k}} --input - --control {control}");
    let mut run = place.supervisor(&sh(&options, "read x < go-$0", "{k}"));
    run.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut run = run.spawn().unwrap();
    let put = |format: &str, items: &[&str]| {
        let words = ["put", "--at", control, "--format", format, ":::"];
        place.run(&[&words, items].concat(), b"")
    };
    let (a, b) = (r#"{"k":1}"#, r#"{"k":"b"}"#);
    until("it can be asked", || put("text", &[a]).code == Some(0));
    let said = put("json", &[a, b, a]);
    said.ends(0);
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let duplicates = serde_json::json!([{"place": 1, "of": 1}, {"place": 3, "of": 1}]);
    assert_eq!(
        (&answer["accepted"], &answer["duplicates"]),
        (&1.into(), &duplicates)
    );
    put("text", &[b])
        .ends(0)
        .tells("0 items put, and 1 duplicate not");
    drop(run.stdin.take());
    for gate in ["go-1", "go-b"] {
        place.open_gate(gate);
    }
    assert!(run.wait().unwrap().success());
}

fn unique_keys_that_make_no_sense_are_refused() {
    let place = Place::new();
    let refused = |options, line, why| {
        let said = place.run(&sh(options, "true", line), b"");
        said.ends(2).tells(why);
    };
    let follows = "--unique x: it must follow from the item";
    refused("--unique x", "::: a", follows);
    refused("--unique-for 1h", "::: a", "--unique");
    let redis = "--redis redis://127.0.0.1:1 --unique {}";
    let others = "--unique: with --redis nobody knows which items others put";
    refused(redis, "::: a", others);
    let lacks = place.run(&sh("--json --unique {k}", "true", "{n}"), b"{\"n\":1}\n");
    lacks.is_refused("it has no member \"k\" for {k}");
}
