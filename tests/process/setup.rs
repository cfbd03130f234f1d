//! Programs that are set up wrongly end in a clear error, never in a hang or a fork bomb.

use crate::support::Run;

crate::trials!(
    a_forgotten_serve_is_an_error_and_starts_nothing,
    a_serve_forgotten_in_the_worker_only_ends_in_no_workers_left,
    a_function_that_is_not_served_is_named,
    a_closure_that_captures_is_refused,
    a_program_that_would_not_learn_of_ends_is_told,
);

pub(crate) fn says(play: &str, expected: &str) {
    let mut run = Run::play(play);
    let line = run.line().unwrap_or_default();
    assert!(line.contains(expected), "{play}: {line}");
    assert_eq!(run.exit().code(), Some(0));
}

fn a_forgotten_serve_is_an_error_and_starts_nothing() {
    says("serves nothing", "dishrack::serve was not called");
}

fn a_serve_forgotten_in_the_worker_only_ends_in_no_workers_left() {
    says("never serves", "exited with code 0");
}

fn a_function_that_is_not_served_is_named() {
    says(
        "not registered",
        "is not served: name it in dishrack::serve",
    );
}

fn a_closure_that_captures_is_refused() {
    says("captures", "captures variables");
}

fn a_program_that_would_not_learn_of_ends_is_told() {
    says("ignores SIGCHLD", "SIGCHLD: is ignored by this program");
}
