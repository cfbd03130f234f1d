//! Journals whose files another program cuts or holds: the run's messages, and the next run's work.

use std::fs::File;
use std::process::{Child, Stdio};

use super::{Place, has_program, stderr, stdout};
use crate::support::until;

crate::trials!(
    a_run_whose_journal_is_cut_says_so,
    a_run_whose_index_is_cut_says_so_and_the_next_one_goes_on,
    a_journal_that_the_shell_of_sqlite_closed_after_a_kill_goes_on,
);

/// Starts a run that has begun its first item and waits at a gate.
fn begun(place: &Place) -> Child {
    place.gate("gate");
    let script = "echo > begun; cat gate > read; echo ran";
    let arguments = ["-w", "1", "--journal", "j", "--", "sh", "-c", script];
    let mut command = place.supervisor(&arguments);
    command.args([":::", "a"]).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = command.spawn().unwrap();
    until("the item is begun", || place.path("begun").exists());
    run
}

fn cut(place: &Place, name: &str) {
    File::create(place.path(name)).unwrap();
}

fn a_run_whose_journal_is_cut_says_so() {
    for name in ["j", "j-wal"] {
        let place = Place::new();
        let run = begun(&place);
        cut(&place, name);
        place.open_gate("gate");
        let output = run.wait_with_output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {said}");
        assert!(
            said.contains("was cut or overwritten while it was used"),
            "{said}"
        );
    }
}

fn a_run_whose_index_is_cut_says_so_and_the_next_one_goes_on() {
    let place = Place::new();
    let run = begun(&place);
    cut(&place, "j-shm");
    place.open_gate("gate");
    let output = run.wait_with_output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("j-shm, which belongs to it, was cut"),
        "{said}"
    );
    let output = place.run(&["-w", "1", "--journal", "j", "--", "echo"], b"a\n");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "a\n");
}

fn a_journal_that_the_shell_of_sqlite_closed_after_a_kill_goes_on() {
    if !has_program("sqlite3") {
        return;
    }
    let place = Place::new();
    let mut run = begun(&place);
    run.kill().unwrap();
    run.wait().unwrap();
    let mut shell = std::process::Command::new("sqlite3");
    shell.arg(place.path("j")).arg("SELECT count(*) FROM batch");
    assert_eq!(stdout(&shell.output().unwrap()), "1\n");
    assert!(
        !place.path("j-wal").exists(),
        "it writes the log into the file"
    );
    let output = place.run(&["-w", "1", "--journal", "j", "--", "echo"], b"a\n");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output), "a\n");
}
