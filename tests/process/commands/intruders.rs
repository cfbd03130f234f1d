//! Journals whose files another program cuts or holds: the run's messages, and the next run's work.

use std::fs::File;
use std::process::{Child, Stdio};

use super::{Place, Said, has_program};
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

fn end(run: Child) -> Said {
    run.wait_with_output().unwrap().into()
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
        let output = end(run);
        let said = &output.err;
        assert_eq!(output.code, Some(2), "{name}: {said}");
        output.tells("was cut or overwritten while it was used");
    }
}

fn a_run_whose_index_is_cut_says_so_and_the_next_one_goes_on() {
    let place = Place::new();
    let run = begun(&place);
    cut(&place, "j-shm");
    place.open_gate("gate");
    end(run)
        .ends(2)
        .tells("j-shm, which belongs to it, was cut");
    place
        .run(&["-w", "1", "--journal", "j", "--", "echo"], b"a\n")
        .ends(0)
        .prints("a\n");
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
    Said::from(shell.output().unwrap()).prints("1\n");
    assert!(
        !place.path("j-wal").exists(),
        "it writes the log into the file"
    );
    place
        .run(&["-w", "1", "--journal", "j", "--", "echo"], b"a\n")
        .ends(0)
        .prints("a\n");
}
