//! A user's own files stay, and a killed run's results are shown by the next one, once and
//! unchanged.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Place, Said, read_pid, sh, words};
use crate::support::named;

crate::trials!(
    what_a_full_stdout_has_not_taken_is_shown_by_the_next_run,
    results_in_the_journals_folder_are_refused,
    a_folder_that_was_there_is_not_taken_for_the_journals,
    a_folder_that_somebody_puts_a_file_into_stays,
    nothing_beside_the_journal_is_replaced,
    no_other_output_goes_into_the_journals_own_files,
    results_are_not_written_over_what_others_have_made,
    results_and_files_have_one_run_at_a_time,
    a_folder_of_results_of_another_user_is_refused,
    a_folder_of_results_whose_marker_was_not_written_is_taken_over,
    a_file_that_is_no_job_log_is_not_replaced,
    nobody_else_can_read_output_and_journal,
    what_was_done_before_a_kill_is_told_as_it_was,
    results_that_were_kept_before_a_kill_stay_as_they_are,
    output_is_found_by_another_name_of_the_journal_and_its_absence_is_told,
    output_that_a_slow_reader_has_not_got_is_shown_again,
    a_job_log_has_each_row_once_whenever_its_run_is_killed,
    dead_letters_are_written_once_whenever_their_run_is_killed,
    both_ends_of_a_dead_letter_that_was_sent_back_are_shown,
    a_result_of_an_earlier_run_does_not_get_the_new_command,
    output_that_is_gone_does_not_replace_what_was_kept,
    a_pipe_in_the_place_of_a_result_is_replaced,
    what_could_not_be_written_is_written_by_the_next_run,
    output_that_stderr_does_not_take_is_shown_by_the_next_run,
);

/// Checks for exit code 2, these words, and no begun command.
fn is_refused(place: &Place, arguments: &[&str], words: &str) {
    let command = ["--", "sh", "-c", "echo x >> begun"];
    let output = place.run(&[arguments, &command].concat(), b"1\n2\n3\n");
    let said = &output.err;
    output.ends(2).tells(words);
    assert!(!place.path("begun").exists(), "{said}");
}

fn results_in_the_journals_folder_are_refused() {
    let place = Place::new();
    for folder in ["jobs-output", "./jobs-output", "jobs-output/r", "jobs"] {
        let arguments = ["--journal", "jobs", "--results", folder];
        is_refused(&place, &arguments, "name another folder");
    }
    assert!(!place.path("jobs-output").exists());
}

fn a_folder_that_was_there_is_not_taken_for_the_journals() {
    let place = Place::new();
    let words = "was not made for journal jobs";
    let folder = place.path("jobs-output");
    fs::create_dir(&folder).unwrap();
    is_refused(&place, &["--journal", "jobs"], words);
    assert!(folder.is_dir(), "an empty one stays, too");
    place.write("jobs-output/notes", b"mine");
    place.write("jobs-output/1.1.stdout", b"mine");
    is_refused(&place, &["--journal", "jobs"], words);
    assert_eq!(place.text("jobs-output/notes"), "mine");
    assert_eq!(place.text("jobs-output/1.1.stdout"), "mine");
    fs::rename(&folder, place.path("elsewhere")).unwrap();
    symlink("elsewhere", &folder).unwrap();
    is_refused(&place, &["--journal", "jobs"], words);
    assert_eq!(place.text("elsewhere/notes"), "mine");
    fs::remove_file(&folder).unwrap();
    // The output of another journal, as it was left.
    leave_output(&place, "others");
    fs::rename(place.path("others-output"), &folder).unwrap();
    is_refused(&place, &["--journal", "jobs"], words);
    assert_eq!(place.text("jobs-output/2.1.stdout"), "out b\n");
}

/// Kills a run of a, b and c in order while the first one holds back the others' output.
fn leave_output(place: &Place, journal: &str) {
    place.gate("gate");
    let arguments = [&["-w", "2", "-k", "--journal", journal][..], &HELD].concat();
    let mut run = place.watch(&arguments);
    run.await_event("done");
    run.await_event("dead");
    let waiting = read_pid(&place.path("a"));
    run.kill();
    // This way only the next run comes through the gate.
    crate::support::until("its command has ended", || {
        !crate::support::is_alive(waiting)
    });
}

const HELD: [&str; 9] = [
    "--",
    "sh",
    "-c",
    "test $1 != a || { echo $$ > a; read x < gate; }; echo out $1; test $1 != c || exit 3",
    "_",
    ":::",
    "a",
    "b",
    "c",
];

/// Runs the same once more, to its end.
fn go_on(place: &Place, arguments: &[&str]) -> Said {
    let gate = place.path("gate");
    let opening = std::thread::spawn(move || fs::write(gate, "go\n").unwrap());
    let output = place.run(&[&["-w", "2"], arguments, &HELD].concat(), b"");
    opening.join().unwrap();
    output
}

fn a_folder_that_somebody_puts_a_file_into_stays() {
    let place = Place::new();
    let script = "echo mine > jobs-output/notes; echo hi";
    let output = place.run(&["--journal", "jobs", "--", "sh", "-c", script], b"1\n");
    assert_eq!((output.code, &*output.out), (Some(0), "hi\n"));
    output.tells("jobs-output stays");
    assert_eq!(place.text("jobs-output/notes"), "mine\n");
    assert!(!place.path("jobs-output/1.1.stdout").exists());
}

fn no_other_output_goes_into_the_journals_own_files() {
    let place = Place::new();
    fs::create_dir(place.path("real")).unwrap();
    // Another name, before there is anything behind it.
    symlink("real/jobs", place.path("link")).unwrap();
    for journal in ["jobs", "link"] {
        for suffix in ["-wal", "-shm", "-journal", "-output"] {
            let own = match journal {
                "link" => format!("real/jobs{suffix}"),
                _ => format!("jobs{suffix}"),
            };
            for option in ["--timeline", "--trace", "--joblog", "--dead-letters"] {
                let arguments = ["--journal", journal, option, &own];
                is_refused(&place, &arguments, "name another file");
            }
            let arguments = ["--journal", journal, "--results", &own];
            is_refused(&place, &arguments, "name another folder");
            assert!(!place.path(&own).exists());
        }
        assert!(!place.path(journal).exists());
    }
}

fn nothing_beside_the_journal_is_replaced() {
    let place = Place::new();
    fs::create_dir(place.path("x.gone")).unwrap();
    place
        .run(&["--journal", "x.journal", "--", "echo"], b"1\n")
        .ends(0);
    let mut names = names_in(place.folder.path());
    names.retain(|name| !name.starts_with("x.journal-"));
    assert_eq!(names, ["x.gone", "x.journal"]);
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn results_are_not_written_over_what_others_have_made() {
    let place = Place::new();
    fs::create_dir_all(place.path("r/2")).unwrap();
    place.write("r/2/stdout", b"mine");
    is_refused(&place, &["--results", "r"], "2 is in it");
    assert_eq!(place.text("r/2/stdout"), "mine");
    assert_eq!(names_in(&place.path("r")), ["2"]);
    // Other files may be there, and a later link leads nowhere else.
    fs::rename(place.path("r/2"), place.path("r/mine")).unwrap();
    place.run(&["--results", "r", "--", "echo"], b"1\n").ends(0);
    symlink("mine", place.path("r/2")).unwrap();
    place
        .run(&["--results", "r", "--", "echo"], b"1\n2\n")
        .ends(2)
        .tells("2 is no folder");
    assert_eq!(place.text("r/mine/stdout"), "mine");
    assert_eq!(place.text("r/1/stdout"), "1\n");
}

/// The run was killed, or had no room for it.
fn a_folder_of_results_whose_marker_was_not_written_is_taken_over() {
    let place = Place::new();
    for torn in ["", "results of"] {
        fs::create_dir(place.path("r")).unwrap();
        place.write("r/.dishrack", torn.as_bytes());
        for _ in 0..2 {
            place.run(&["--results", "r", "--", "echo"], b"1\n").ends(0);
        }
        let marker = fs::metadata(place.path("r/.dishrack")).unwrap();
        assert_eq!(marker.permissions().mode() & 0o777, 0o600);
        assert!(marker.len() > 20);
        fs::remove_dir_all(place.path("r")).unwrap();
    }
    fs::create_dir(place.path("r")).unwrap();
    place.write("r/.dishrack", b"");
    fs::create_dir(place.path("r/1")).unwrap();
    is_refused(&place, &["--results", "r"], "name another folder");
}

/// This holds for all names of a folder, and for a written file.
fn results_and_files_have_one_run_at_a_time() {
    let place = Place::new();
    place.gate("gate");
    fs::create_dir(place.path("r")).unwrap();
    symlink("r", place.path("link")).unwrap();
    let mut run = place.watch(&sh(
        "--results link --joblog log --timeline run.svg",
        "read x < gate",
        "::: 1",
    ));
    run.await_event("worker_started");
    for folder in ["r", "link"] {
        let arguments = ["--results", folder];
        is_refused(&place, &arguments, "another run is using it");
    }
    for (option, file) in [("--joblog", "log"), ("--timeline", "run.svg")] {
        is_refused(&place, &[option, file], "another run is writing it");
    }
    place.open_gate("gate");
    assert!(run.exit().success());
    assert_eq!(place.joblog("log").len(), 1);
    for folder in ["r", "link"] {
        let output = place.run(
            &["--results", folder, "--joblog", "log", "--", "echo"],
            b"1\n",
        );
        output.ends(0);
    }
}

/// It is refused at the first run as at the second.
fn a_folder_of_results_of_another_user_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can give a folder away.
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("r")).unwrap();
    std::os::unix::fs::chown(place.path("r"), Some(65_534), None).unwrap();
    for _ in 0..2 {
        is_refused(&place, &["--results", "r"], "it is another user's folder");
    }
}

fn a_file_that_is_no_job_log_is_not_replaced() {
    let place = Place::new();
    place.write("log", b"Seq and so on\n");
    for journal in [&[][..], &["--journal", "j"]] {
        let arguments = [&["--joblog", "log"], journal].concat();
        is_refused(&place, &arguments, "is not a job log");
    }
    assert_eq!(place.text("log"), "Seq and so on\n");
    // One that is, is.
    for _ in 0..2 {
        place
            .run(&["--joblog", "new", "--", "true"], b"1\n2\n")
            .ends(0);
        assert_eq!(place.joblog("new").len(), 2);
    }
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// The umask forbids nothing.
fn nobody_else_can_read_output_and_journal() {
    let place = Place::new();
    place.gate("gate");
    let run = |options: &str| {
        let script = format!(
            "umask 000; exec \"$0\" -w 1 {options} -- sh -c \
             'echo out; echo $$ > begun; read x < gate; rm begun' ::: 1"
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_supervisor")]);
        command
            .current_dir(place.folder.path())
            .env("TMPDIR", place.folder.path());
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        read_pid(&place.path("begun"));
        child
    };
    let end = |mut child: std::process::Child| {
        place.open_gate("gate");
        assert!(child.wait().unwrap().success());
    };
    let child = run("--journal j --results r --joblog log");
    for (name, mode) in [
        ("j", 0o600),
        ("j-wal", 0o600),
        ("j-shm", 0o600),
        ("j-output", 0o700),
        ("j-output/.dishrack", 0o600),
        ("j-output/1.1.stdout", 0o600),
        // Files that were named in options have the usual mode.
        ("log", 0o666),
        ("r", 0o777),
        ("r/.dishrack", 0o600),
    ] {
        assert_eq!(mode_of(&place.path(name)), mode, "{name}");
    }
    end(child);
    for name in ["stdout", "stderr", "result.json"] {
        assert_eq!(mode_of(&place.path(&format!("r/1/{name}"))), 0o666);
    }
    let child = run("");
    let names = names_in(place.folder.path());
    let spools: Vec<_> = names
        .iter()
        .filter(|name| name.starts_with(".dishrack-output-"))
        .collect();
    assert_eq!(spools.len(), 1, "{names:?}");
    assert_eq!(mode_of(&place.path(spools[0])), 0o700);
    end(child);
}

fn what_was_done_before_a_kill_is_told_as_it_was() {
    let place = Place::new();
    leave_output(&place, "j");
    let more = ["-k", "--tag", "--journal", "j", "--joblog", "log"];
    let output = go_on(&place, &more);
    let text = "a\tout a\nb\tout b\nc\tout c\n";
    output.prints(text);
    let rows = place.joblog("log");
    let mut rows: Vec<_> = rows.iter().map(|row| (&*row[0], &*row[6])).collect();
    rows.sort_unstable();
    rows.retain(|(item, _)| *item != "3");
    assert_eq!(rows, [("1", "0"), ("2", "0")]);

    let place = Place::new();
    leave_output(&place, "j");
    let output = go_on(&place, &["--format", "json", "--journal", "j"]);
    let events: Vec<Value> = output
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_b = |name| {
        let found = named(&events, name);
        let found: Vec<_> = found.iter().filter(|event| event["item"] == "b").collect();
        assert_eq!(found.len(), 1, "{name}: {events:?}");
        (*found[0]).clone()
    };
    assert_eq!(of_b("output")["text"], "out b\n");
    let done = of_b("done");
    assert!(done["worker"].as_str().unwrap().starts_with("worker-"));
    assert!(done["pid"].as_u64().unwrap() > 0 && done["duration_us"].as_u64().unwrap() > 0);
}

fn results_that_were_kept_before_a_kill_stay_as_they_are() {
    let place = Place::new();
    place.gate("gate");
    let kept = ["-k", "--journal", "j", "--results", "r"];
    let mut run = place.watch(&[&["-w", "2"], &kept[..], &HELD].concat());
    run.await_event("done");
    run.await_event("dead");
    let files = ["r/2/result.json", "r/2/stdout", "r/3/result.json"];
    crate::support::until("both are kept", || {
        files.iter().all(|file| place.path(file).exists())
    });
    let before = files.map(|file| place.text(file));
    let waiting = read_pid(&place.path("a"));
    run.kill();
    crate::support::until("its command has ended", || {
        !crate::support::is_alive(waiting)
    });
    go_on(&place, &kept).prints("out a\nout b\nout c\n");
    assert_eq!(files.map(|file| place.text(file)), before);
    let result: Value = serde_json::from_str(&before[2]).unwrap();
    let of = (&result["item"], &result["exit_code"], &result["attempts"]);
    assert_eq!(of, (&"c".into(), &3.into(), &1.into()));
    let first: Value = serde_json::from_str(&place.text("r/1/result.json")).unwrap();
    assert_eq!(
        (&first["item"], &first["exit_code"]),
        (&"a".into(), &0.into())
    );
}

fn output_is_found_by_another_name_of_the_journal_and_its_absence_is_told() {
    let place = Place::new();
    leave_output(&place, "j");
    symlink("j", place.path("link")).unwrap();
    let output = go_on(&place, &["-k", "--journal", "link"]);
    let text = "out a\nout b\nout c\n";
    output.prints(text);

    let place = Place::new();
    leave_output(&place, "j");
    for name in ["j", "j-wal", "j-shm"] {
        let moved = name.replacen('j', "moved", 1);
        fs::rename(place.path(name), place.path(&moved)).unwrap();
    }
    let output = go_on(&place, &["-k", "--journal", "moved"]);
    output.prints("out a\n").tells("moved-output is not there");
    assert_eq!(place.text("j-output/2.1.stdout"), "out b\n");
}

/// Runs 400 items whose output is read slowly, and kills the run again and again. Returns
/// everything that was shown, over all runs.
fn storm(place: &Place, more: &[&str], end: &str) -> String {
    let script = format!("printf '%s-%0500d\\n' $1 $1; echo x >> did; {end}");
    let items: String = (1..=ITEMS).map(|item| format!("{item}\n")).collect();
    place.write("items", items.as_bytes());
    let options = words("-w 2 --journal j --input items --backoff 0");
    let arguments = [&options, more, &["--", "sh", "-c", &script, "_"]].concat();
    let mut shown = String::new();
    for round in 1.. {
        let mut command = place.supervisor(&arguments);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut from = child.stdout.take().unwrap();
        // It reads a little more each time, so that it is killed elsewhere each time.
        let mut got = vec![0; round * 1777];
        let mut length = 0;
        while length < got.len() {
            match from.read(&mut got[length..]).unwrap() {
                0 => break,
                count => length += count,
            }
        }
        let is_over = length < got.len();
        // Every other time it is killed while commands run; else when all have ended.
        crate::support::until("all commands have ended", || {
            let did = fs::metadata(place.path("did")).map_or(0, |meta| meta.len());
            round % 2 == 1 || did >= 2 * ITEMS as u64
        });
        child.kill().unwrap();
        child.wait().unwrap();
        // The bytes in the pipe count, because the reader lives.
        got.truncate(length);
        from.read_to_end(&mut got).unwrap();
        shown += &String::from_utf8(got).unwrap();
        // A line that was cut off in the middle is no output.
        shown.push('\n');
        if is_over {
            return shown;
        }
    }
    unreachable!()
}

const ITEMS: usize = 400;

fn output_that_a_slow_reader_has_not_got_is_shown_again() {
    let place = Place::new();
    let shown = storm(&place, &[], "");
    let missing: Vec<usize> = (1..=ITEMS)
        .filter(|item| !shown.contains(&format!("\n{item}-{item:0500}\n")))
        .filter(|item| !shown.starts_with(&format!("{item}-{item:0500}\n")))
        .collect();
    assert!(missing.is_empty(), "never shown: {missing:?}");
    assert!(!place.path("j-output").exists());
}

fn a_job_log_has_each_row_once_whenever_its_run_is_killed() {
    let place = Place::new();
    storm(&place, &["--joblog", "log"], "");
    let mut numbers: Vec<usize> = place
        .joblog("log")
        .iter()
        .map(|row| {
            assert_eq!(row.len(), 9, "{row:?}");
            row[0].parse().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=ITEMS).collect::<Vec<_>>());
}

fn dead_letters_are_written_once_whenever_their_run_is_killed() {
    let place = Place::new();
    let more = ["--dead-letters", "dead", "--max-attempts", "1"];
    storm(&place, &more, "exit 1");
    let letters = place.text("dead");
    let mut names: Vec<usize> = letters
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|letter| letter["item"].as_str().unwrap().parse().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, (1..=ITEMS).collect::<Vec<_>>());
}

/// An item was given up, retried, and given up once more; the run was killed twice before either
/// was shown, because the first item had not ended.
fn both_ends_of_a_dead_letter_that_was_sent_back_are_shown() {
    let place = Place::new();
    place.gate("gate");
    let script = "test $1 != a || { echo $$ > a; read x < gate; }
        echo out $1 $SUPERVISOR_ATTEMPT; test $1 = a";
    let options = ["-w", "2", "-k", "--max-attempts", "1", "--journal", "j"];
    let command = ["--", "sh", "-c", script, "_", ":::", "a", "b"];
    let arguments = [&options[..], &command].concat();
    for round in 0..2 {
        let mut run = place.watch(&arguments);
        // The end in the earlier run comes first, and is not shown either.
        for _ in 0..=round {
            run.await_event("dead");
        }
        let waiting = read_pid(&place.path("a"));
        run.kill();
        crate::support::until("its command has ended", || {
            !crate::support::is_alive(waiting)
        });
        fs::remove_file(place.path("a")).unwrap();
        if round == 0 {
            place
                .run(&["dead", "retry", "--all", "--journal", "j"], b"")
                .ends(0);
        }
    }
    let gate = place.path("gate");
    let opening = std::thread::spawn(move || fs::write(gate, "go\n").unwrap());
    let output = place.run(&arguments, b"");
    opening.join().unwrap();
    let shown = &output.out;
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("out a "), "{shown}{}", output.err);
    assert_eq!(lines[1..], ["out b 1", "out b 2"], "{}", output.err);
    let output = place.run(&arguments, b"");
    assert_eq!(output.out, "", "nothing is left to be shown");
    assert!(!place.path("j-output").exists());
}

/// Goes on with another command than that of [`HELD`].
fn go_on_otherwise(place: &Place) -> Said {
    let options = ["-w", "2", "-k", "--journal", "j", "--results", "r"];
    let command = ["--", "echo", "other", "{}", ":::", "a", "b", "c"];
    place.run(&[&options[..], &command].concat(), b"")
}

fn a_result_of_an_earlier_run_does_not_get_the_new_command() {
    let place = Place::new();
    leave_output(&place, "j");
    let output = go_on_otherwise(&place);
    let result = |item: u32| -> Value {
        serde_json::from_str(&place.text(&format!("r/{item}/result.json"))).unwrap()
    };
    assert_eq!(result(1)["command"], "echo other a", "{}", output.err);
    assert_eq!(
        (&result(2)["item"], &result(2)["command"]),
        (&"b".into(), &Value::Null)
    );
    assert_eq!(result(3)["exit_code"], 3);
    assert_eq!(place.text("r/2/stdout"), "out b\n");
}

fn output_that_is_gone_does_not_replace_what_was_kept() {
    let place = Place::new();
    place.gate("gate");
    let kept = ["-w", "2", "-k", "--journal", "j", "--results", "r"];
    let mut run = place.watch(&[&kept[..], &HELD].concat());
    run.await_event("done");
    run.await_event("dead");
    let files = [
        "r/2/result.json",
        "r/2/stdout",
        "r/3/result.json",
        "r/3/stdout",
    ];
    crate::support::until("both are kept", || {
        files.iter().all(|file| place.path(file).exists())
    });
    let before = files.map(|file| place.text(file));
    let waiting = read_pid(&place.path("a"));
    run.kill();
    crate::support::until("its command has ended", || {
        !crate::support::is_alive(waiting)
    });
    // As if the run had been killed right after it had shown it.
    fs::remove_file(place.path("j-output/2.1.stdout")).unwrap();
    go_on_otherwise(&place).ends(1);
    assert_eq!(files.map(|file| place.text(file)), before);
    assert_eq!(before[1], "out b\n");
}

fn a_pipe_in_the_place_of_a_result_is_replaced() {
    let place = Place::new();
    leave_output(&place, "j");
    fs::create_dir_all(place.path("r")).unwrap();
    place.run(&["--results", "r", "--", "true"], b"").ends(0);
    fs::create_dir(place.path("r/2")).unwrap();
    place.gate("r/2/result.json");
    let options = ["-w", "2", "--journal", "j", "--results", "r"];
    let mut run = place.watch(&[&options[..], &["--", "echo", ":::", "a", "b", "c"]].concat());
    // Otherwise it would wait for a writer.
    run.ends(1);
    let result: Value = serde_json::from_str(&place.text("r/2/result.json")).unwrap();
    assert_eq!(result["item"], "b");
}

/// The file system is full, and the folder cannot be made.
fn what_could_not_be_written_is_written_by_the_next_run() {
    let place = Place::new();
    place.run(&["--results", "r", "--", "true"], b"").ends(0);
    place.write("r/2", b"in the way");
    let run = |joblog, letters| {
        let options = ["--max-attempts", "1", "--journal", "j", "--results", "r"];
        let more = ["--joblog", joblog, "--dead-letters", letters];
        let command = ["--", "sh", "-c", "echo out $1; test $1 != 3", "_"];
        let output = place.run(&[&options[..], &more, &command].concat(), b"1\n2\n3\n");
        (output.code, output.err)
    };
    for (joblog, letters) in [("/dev/full", "dead"), ("log", "/dev/full")] {
        let (code, said) = run(joblog, letters);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("/dev/full: cannot be written"), "{said}");
        assert!(place.path("j-output/2.1.stdout").exists(), "{said}");
    }
    fs::remove_file(place.path("r/2")).unwrap();
    fs::remove_file(place.path("dead")).unwrap();
    let (code, said) = run("log", "dead");
    assert_eq!(code, Some(1), "{said}");
    let mut rows = place.joblog("log");
    rows.sort();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (&*row[0], &*row[5], &*row[6]))
        .collect();
    assert_eq!(rows, [("1", "6", "0"), ("2", "6", "0"), ("3", "6", "1")]);
    assert_eq!(place.text("r/2/stdout"), "out 2\n");
    assert!(place.text("dead").contains("\"item\":\"3\""));
    assert!(!place.path("j-output").exists());
}

fn output_that_stderr_does_not_take_is_shown_by_the_next_run() {
    let place = Place::new();
    let arguments = ["--journal", "j", "--", "sh", "-c", "echo seen >&2"];
    let mut command = place.supervisor(&arguments);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    command.args(["_", "{}", ":::", "1"]).stdin(Stdio::null());
    assert_eq!(command.stderr(full).status().unwrap().code(), Some(2));
    let output = place.run(&[&arguments[..], &["_", "{}", ":::", "1"]].concat(), b"");
    output.ends(0).tells("seen\n");
    assert!(!place.path("j-output").exists());
}

fn what_a_full_stdout_has_not_taken_is_shown_by_the_next_run() {
    // It goes through a buffer, past it, and by the kernel.
    for bytes in [100, 9_000, 100_000] {
        for order in [&[][..], &["-k"]] {
            let place = Place::new();
            let script = format!("echo $1; head -c {bytes} /dev/zero | tr '\\0' x; echo");
            let options = ["-q", "-w", "2", "--journal", "journal"];
            let command = [
                "--", "sh", "-c", &script, "_", ":::", "1", "2", "3", "4", "5",
            ];
            let words = [&options[..], order, &command].concat();
            let full = fs::File::options().write(true).open("/dev/full").unwrap();
            let mut run = place.supervisor(&words);
            let ended = run.stdout(full).output().unwrap();
            assert_eq!(ended.status.code(), Some(2), "{ended:?}");
            let said = place.run(&words, b"");
            said.ends(0).hides("cannot be shown");
            let mut shown: Vec<&str> = said.out.lines().filter(|line| line.len() == 1).collect();
            shown.sort_unstable();
            assert_eq!(shown, ["1", "2", "3", "4", "5"], "{bytes} {order:?}");
        }
    }
}
