//! A supervisor of a stream whose books do not agree: it ends with 70, and others go on with what it
//! had. It needs the feature `failpoints`.

use crate::cli::{Said, Stage, said};

crate::timely_trials!(
    what_it_had_goes_to_others,
    one_that_stays_ends_also_if_it_is_found_before_anybody_hears_of_it,
);

fn what_it_had_goes_to_others() {
    for fault in ["one too many", "one too many while items are in hand"] {
        let stage = Stage::new();
        stage.put(&["1", "2", "3", "4", "5"]);
        let work = |script| {
            let options = ["-w", "2", "--lease", "2s", "--until-done"];
            [&options[..], &["--", "sh", "-c", script]].concat()
        };
        let mut command = stage.supervisor("work", &work("sleep 1000"));
        command.env("DISHRACK_FAULT", fault);
        let first: Said = said(command);
        first.ends(70).tells("internal error");
        assert_eq!(first.err.matches("internal error").count(), 1);
        let next = stage.say("work", &work("echo got {}"));
        next.ends(0);
        let mut lines: Vec<&str> = next.out.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            ["got 1", "got 2", "got 3", "got 4", "got 5"],
            "{fault}"
        );
    }
}

fn one_that_stays_ends_also_if_it_is_found_before_anybody_hears_of_it() {
    let stage = Stage::new();
    let mut command = stage.supervisor("work", &["-w", "1", "--", "true"]);
    command.env("DISHRACK_FAULT", "one too many");
    let only: Said = said(command);
    only.ends(70).tells("internal error");
}
