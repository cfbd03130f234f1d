//! Pictures and traces of real runs: the content of the files, and the paths that are refused
//! before anything is started.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use roxmltree::Document;
use serde_json::Value;
use tempfile::TempDir;

use crate::run::{Run, pid_of, send};
use crate::said::{self, Said};

crate::trials!(
    the_chapters_dishes_are_drawn,
    every_mode_is_drawn,
    dishes_given_up_on_are_drawn,
    a_stopped_run_is_drawn,
    a_run_that_is_stopped_at_once_is_drawn,
    a_killed_dryer_is_drawn_and_traced,
    a_run_that_nobody_reads_is_drawn,
    a_trace_is_an_array_of_slices_that_do_not_overlap,
    many_dishes_make_a_small_picture,
    what_an_earlier_run_has_drawn_is_replaced,
    what_somebody_else_has_written_is_not_replaced,
    a_file_that_cannot_be_written_is_named_before_anything_is_started,
    what_lies_beside_the_journal_is_its_own,
    no_file_is_used_twice,
    a_run_that_cannot_be_started_leaves_no_half_picture,
    the_four_ways_are_compared_and_drawn,
    a_comparison_stops_in_order,
    a_comparison_that_cannot_be_is_refused,
);

const NO_TIME: [&str; 4] = ["--wash", "0", "--dry", "0"];

fn folder() -> (TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name).to_str().unwrap().to_owned();
    let (svg, json) = (path("run.svg"), path("run.json"));
    (folder, svg, json)
}

fn supervisor(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.env("RUST_BACKTRACE", "0").args(arguments);
    command
}

fn run(arguments: &[&str]) -> Said {
    supervisor(arguments).output().unwrap().into()
}

/// Returns the words of the picture: its texts, and the titles of its elements.
fn words(path: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let svg = Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(svg.root_element().has_tag_name("svg"));
    let nodes = svg.descendants().filter(|node| node.is_text());
    nodes
        .filter_map(|node| node.text())
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn expect(words: &[String], what: &str) {
    let is_there = words.iter().any(|one| one.contains(what));
    assert!(is_there, "{what}: {words:?}");
}

fn values(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn the_chapters_dishes_are_drawn() {
    let (_folder, svg, _) = folder();
    let output = run(&[
        "-w",
        "2",
        "--wash",
        "5ms",
        "--dry",
        "10ms",
        "--timeline",
        &svg,
    ]);
    output.ends(0);
    let words = words(&svg);
    expect(&words, "4 dishes, 2 processes, 5ms to wash, 10ms to dry");
    expect(&words, "4 of 4 dishes done, 0 dead");
    for n in 1..=4 {
        expect(&words, &format!("Washing dish-{n}\nwasher, pid "));
        expect(&words, &format!("Drying dish-{n}\ndryer-"));
    }
}

fn every_mode_is_drawn() {
    for mode in ["processes", "threads", "tasks", "sequential"] {
        let (_folder, svg, json) = folder();
        let pictures = ["--mode", mode, "-q", "--timeline", &svg, "--trace", &json];
        let output = run(&[&pictures[..], &NO_TIME].concat());
        assert_eq!(output.code, Some(0), "{mode}");
        assert!(output.stdout.is_empty(), "quiet is quiet");
        let row = if mode == "sequential" {
            "main"
        } else {
            "washer"
        };
        assert!(
            words(&svg).contains(&row.to_owned()),
            "{mode}: {:?}",
            words(&svg)
        );
        let slices = values(&json)
            .iter()
            .filter(|value| value["ph"] == "X")
            .count();
        assert_eq!(slices, 8, "{mode}");
    }
}

fn dishes_given_up_on_are_drawn() {
    let (_folder, svg, json) = folder();
    let limits = said::words("--timeout 20ms --dry 1h --wash 0 --max-attempts 2");
    let pictures = [
        "-w",
        "1",
        "--dishes",
        "1",
        "--timeline",
        &svg,
        "--trace",
        &json,
    ];
    run(&[&limits[..], &pictures[..]].concat()).ends(1);
    let words = words(&svg);
    expect(&words, "dish-1: attempt 1 failed: took longer");
    expect(&words, "dish-1: attempt 2 failed, given up on");
    let names: Vec<Value> = values(&json)
        .into_iter()
        .filter(|value| value["ph"] == "i")
        .map(|value| value["name"].clone())
        .collect();
    for name in ["retry", "dead letter", "death"] {
        assert!(names.contains(&name.into()), "{name}: {names:?}");
    }
}

fn start(arguments: &[&str]) -> Run {
    let mut command = supervisor(arguments);
    command.stderr(Stdio::null());
    Run::of(command)
}

fn a_stopped_run_is_drawn() {
    let (_folder, svg, json) = folder();
    let times = [
        "--wash", "1ms", "--dry", "100ms", "-w", "1", "--dishes", "1000",
    ];
    let pictures = ["--format", "json", "--timeline", &svg, "--trace", &json];
    let mut run = start(&[&times[..], &pictures].concat());
    run.await_event("drying");
    run.signal(Signal::SIGINT);
    assert_eq!(run.exit().code(), Some(130));
    let words = words(&svg);
    expect(&words, "dishes done, 0 dead");
    assert!(values(&json).iter().any(|value| value["ph"] == "X"));
}

fn a_run_that_is_stopped_at_once_is_drawn() {
    let (_folder, svg, json) = folder();
    let times = ["--wash", "1ms", "--dry", "1h", "-w", "1"];
    let pictures = ["--format", "json", "--timeline", &svg, "--trace", &json];
    let mut run = start(&[&times[..], &pictures].concat());
    run.await_event("drying");
    run.signal(Signal::SIGINT);
    // Two signals of one kind could become one.
    run.signal(Signal::SIGTERM);
    assert!(matches!(run.exit().code(), Some(130 | 143)));
    expect(&words(&svg), "left undone");
    let is_broken_off = |value: &Value| value["args"]["outcome"] == "broken off";
    assert!(values(&json).iter().any(is_broken_off));
}

fn a_killed_dryer_is_drawn_and_traced() {
    let (_folder, svg, json) = folder();
    let times = [
        "--wash", "1ms", "--dry", "300ms", "-w", "1", "--dishes", "2",
    ];
    let pictures = ["--format", "json", "--timeline", &svg, "--trace", &json];
    let mut run = start(&[&times[..], &pictures].concat());
    send(pid_of(&run.await_event("drying")), Signal::SIGKILL);
    assert_eq!(run.exit().code(), Some(0));
    let words = words(&svg);
    expect(&words, "died with dish-1: killed by SIGKILL");
    expect(&words, "dish-1: attempt 1 failed: killed by SIGKILL");
    let rows = words.iter().filter(|word| *word == "dryer-1").count();
    assert_eq!(rows, 1, "a dryer keeps its row: {words:?}");
    let values = values(&json);
    let retry = values
        .iter()
        .find(|value| value["name"] == "retry")
        .unwrap();
    assert_eq!(retry["args"]["item"], "dish-1");
    assert_eq!(retry["args"]["cause"], "killed by SIGKILL");
}

fn a_run_that_nobody_reads_is_drawn() {
    let (_folder, svg, json) = folder();
    let pictures = ["--dishes", "100000", "--timeline", &svg, "--trace", &json];
    let mut child = supervisor(&[&pictures[..], &NO_TIME].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(141));
    words(&svg);
    values(&json);
}

fn a_trace_is_an_array_of_slices_that_do_not_overlap() {
    let (_folder, _, json) = folder();
    let dishes = ["-q", "-w", "3", "--dishes", "2000", "--trace", &json];
    run(&[&dishes[..], &NO_TIME].concat()).ends(0);
    let values = values(&json);
    let number = |value: &Value, name: &str| {
        let number = value[name].as_u64();
        number.unwrap_or_else(|| panic!("no {name} in {value}"))
    };
    let mut slices: Vec<(u64, u64, u64)> = values
        .iter()
        .filter(|value| value["ph"] == "X")
        .map(|value| {
            (
                number(value, "tid"),
                number(value, "ts"),
                number(value, "dur"),
            )
        })
        .collect();
    assert_eq!(slices.len(), 4000);
    slices.sort_unstable();
    for pair in slices.windows(2) {
        let ((tid, ts, dur), (next_tid, next_ts, _)) = (pair[0], pair[1]);
        assert!(tid != next_tid || ts + dur <= next_ts, "{pair:?}");
    }
    let named: Vec<u64> = values
        .iter()
        .filter(|value| value["name"] == "thread_name")
        .map(|value| number(value, "tid"))
        .collect();
    assert!(
        slices.iter().all(|(tid, ..)| named.contains(tid)),
        "{named:?}"
    );
}

fn many_dishes_make_a_small_picture() {
    let (_folder, svg, _) = folder();
    let dishes = ["-q", "-w", "2", "--dishes", "20000", "--timeline", &svg];
    run(&[&dishes[..], &NO_TIME].concat()).ends(0);
    expect(&words(&svg), "20000 of 20000 dishes done");
    let length = fs::metadata(&svg).unwrap().len();
    assert!(length < 100_000, "{length} bytes");
}

fn what_an_earlier_run_has_drawn_is_replaced() {
    let (_folder, svg, json) = folder();
    let pictures = ["--timeline", &svg, "--trace", &json];
    for _ in 0..2 {
        run(&[&pictures[..], &NO_TIME].concat()).ends(0);
        words(&svg);
        values(&json);
        for path in [&svg, &json] {
            let longer = fs::read_to_string(path).unwrap() + &"x".repeat(1 << 20);
            fs::write(path, longer).unwrap();
        }
    }
}

fn what_somebody_else_has_written_is_not_replaced() {
    let (_folder, svg, json) = folder();
    for (option, path, what) in [
        ("--timeline", &svg, "is not a time chart by this program"),
        ("--trace", &json, "is not a trace by this program"),
    ] {
        fs::write(path, "[\nnotes\n").unwrap();
        run(&[option, path]).is_refused(what);
        assert_eq!(fs::read(path).unwrap(), b"[\nnotes\n");
    }
}

fn a_file_that_cannot_be_written_is_named_before_anything_is_started() {
    for option in ["--timeline", "--trace"] {
        let cases = [
            ("/no/such/folder/x", "/no/such/folder/x: cannot be written"),
            ("/", "/: cannot be written"),
        ];
        for (path, expected) in cases {
            run(&[option, path]).is_refused(expected);
            run(&[option, path]).is_refused(option);
        }
    }
    // The picture is written at the end, so the failure is reported then.
    let full = run(&[&["--timeline", "/dev/full"][..], &NO_TIME].concat());
    full.ends(2)
        .tells("--timeline /dev/full: cannot be written");
}

/// SQLite keeps files beside a journal, which may not exist yet.
fn what_lies_beside_the_journal_is_its_own() {
    let (folder, ..) = folder();
    let journal = folder.path().join("jobs").display().to_string();
    for end in ["-wal", "-shm", "-journal", "-output"] {
        let own = format!("{journal}{end}");
        for option in ["--timeline", "--trace", "--dead-letters", "--joblog"] {
            let work = [
                "--journal",
                &journal,
                option,
                &own,
                "--",
                "true",
                ":::",
                "a",
            ];
            run(&work).is_refused("name another file");
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn no_file_is_used_twice() {
    let (folder, svg, json) = folder();
    let names = folder.path().join("names");
    fs::write(&names, "cup\n").unwrap();
    let names = names.to_str().unwrap();
    let again = Path::new(&svg).parent().unwrap().join("./run.svg");
    let again = again.to_str().unwrap();
    let twice: &[&[&str]] = &[
        &["--timeline", &svg, "--trace", &svg],
        &["--timeline", &svg, "--trace", again],
        &["--timeline", &svg, "--journal", again],
        &["--timeline", &svg, "--dead-letters", again],
        &["--trace", names, "--input", names],
    ];
    for arguments in twice {
        run(arguments).is_refused("name another file");
    }
    assert_eq!(fs::read_to_string(names).unwrap(), "cup\n");
    assert!(!Path::new(&svg).exists() || fs::metadata(&svg).unwrap().len() == 0);
    // A journal is not overwritten by a picture.
    let journal = folder.path().join("journal");
    let journal = journal.to_str().unwrap();
    run(&[&["--journal", journal][..], &NO_TIME].concat()).ends(0);
    run(&["--trace", journal]).is_refused("it is an SQLite file");
    assert!(!Path::new(&json).exists());
}

fn a_run_that_cannot_be_started_leaves_no_half_picture() {
    let (_folder, svg, json) = folder();
    let pictures = ["--timeline", &svg, "--trace", &json];
    let mut command = supervisor(&pictures);
    // SAFETY: between fork and exec only a system call is made.
    unsafe {
        // Enough for the pictures, and not for workers.
        command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_NOFILE, 40, 40)?));
    }
    Said::from(command.output().unwrap())
        .ends(2)
        .tells("file descriptors");
    words(&svg);
    values(&json);
    let (_folder, svg, _) = folder();
    run(&["--timeline", &svg, "--trace", "/no/such/folder/x"]).is_refused("--trace");
    assert!(!Path::new(&svg).exists());
}

fn the_four_ways_are_compared_and_drawn() {
    let (_folder, svg, _) = folder();
    let output = run(&["compare", "--wash", "1ms", "--dry", "2ms", "--output", &svg]);
    let table = &output.out;
    assert_eq!(output.code, Some(0), "{table}");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    let expected = [
        ("sequential", "1"),
        ("processes", "2"),
        ("threads", "2"),
        ("tasks", "2"),
    ];
    assert_eq!(rows.len(), expected.len(), "{table}");
    for (row, (way, workers)) in rows.iter().zip(expected) {
        assert_eq!((row[0], row[1], row[4]), (way, workers, "4"), "{table}");
        assert!(row[5].parse::<f64>().is_ok(), "{table}");
    }
    let words = words(&svg);
    for (way, _) in expected {
        expect(&words, &format!("{way}: "));
    }
    let summaries = words
        .iter()
        .filter(|word| word.starts_with("4 of 4 dishes done"));
    assert_eq!(summaries.count(), 4);
    assert_eq!(words.iter().filter(|word| *word == "main").count(), 1);
    assert_eq!(words.iter().filter(|word| *word == "washer").count(), 3);
}

fn a_comparison_stops_in_order() {
    let (_folder, svg, _) = folder();
    let mut run = start(&["compare", "--wash", "1h", "--output", &svg]);
    let header = run.line().unwrap();
    assert!(header.starts_with("way"), "{header}");
    run.signal(Signal::SIGTERM);
    let rows: Vec<String> = std::iter::from_fn(|| run.line()).collect();
    assert_eq!(run.exit().code(), Some(143));
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(rows[0].ends_with(" -"), "nothing to compare with: {rows:?}");
    expect(&words(&svg), "0 of 0 dishes done");
}

fn a_comparison_that_cannot_be_is_refused() {
    let (_folder, svg, _) = folder();
    run(&["compare", "--workers", "0", "--output", &svg]).is_refused("--workers 0");
    run(&["compare", "--output", "/no/such/folder/x"]).is_refused("--output /no/such/folder/x");
    run(&["compare", "--dry", "soon", "--output", &svg]).is_refused("soon");
    assert!(!Path::new(&svg).exists());
}
