//! Small output, which lies in a worker's log and not in files of its attempt's own.

use super::{Place, sh};

crate::trials!(
    no_file_is_made_for_an_item,
    small_and_large_outputs_alternate,
    a_process_left_behind_writes_to_no_other_items_output,
    a_command_that_empties_its_output_empties_its_own,
    output_of_a_killed_worker_is_shown_with_its_attempt,
    output_is_whole_after_the_folder_was_removed,
);

/// Each command lists the folder, in which there are the same files for all, with a log from the
/// second on.
fn no_file_is_made_for_an_item() {
    let place = Place::new();
    let script = "cd .dishrack-output-*; ls -A | sed s/^w.*[.]/w./ | LC_ALL=C sort";
    let output = place.run(&["-w", "1", "-k", "--", "sh", "-c", script], b"1\n2\n3\n");
    let (first, other) = (
        ".dishrack\nw.stderr\nw.stdout\n",
        ".dishrack\nw.log\nw.stderr\nw.stdout\n",
    );
    assert_eq!(output.out, [first, other, other].concat());
}

fn small_and_large_outputs_alternate() {
    let place = Place::new();
    let script = r#"if test $(($1 % 2)) = 0; then yes $1 | head -c 100000; echo; echo $1 >&2; else echo $1; fi"#;
    let items: String = (1..=40).map(|item| format!("{item}\n")).collect();
    let arguments = ["-w", "2", "-k", "--", "sh", "-c", script, "_"];
    let output = place.run(&arguments, items.as_bytes());
    let mut expected = String::new();
    for item in 1..=40 {
        let line = format!("{item}\n");
        match item % 2 {
            0 => {
                let large = line.repeat(100_000 / line.len() + 1);
                expected.push_str(&large[..100_000]);
                expected.push('\n');
            }
            _ => expected.push_str(&line),
        }
    }
    assert!(output.out == expected);
    let errors: Vec<String> = output.err.lines().map(str::to_owned).collect();
    for item in (2..=40).step_by(2) {
        assert!(errors.contains(&item.to_string()), "{errors:?}");
    }
}

fn a_process_left_behind_writes_to_no_other_items_output() {
    let place = Place::new();
    place.gate("go");
    place.gate("wrote");
    let script = "
        if test $1 = 1; then
            (read x < go; echo late; echo late >&2; echo y > wrote) &
            echo one
        else
            echo x > go; read y < wrote; echo two
        fi";
    let arguments = ["-w", "1", "-k", "--tag", "--", "sh", "-c", script, "_"];
    let output = place.run(&arguments, b"1\n2\n");
    let text = &output.out;
    let rest: Vec<&str> = text.lines().filter(|line| *line != "1\tlate").collect();
    assert_eq!(rest, ["1\tone", "2\ttwo"], "{text}");
    output.hides("2\tlate");
}

/// The shell opens the file by its name and cuts it off.
fn a_command_that_empties_its_output_empties_its_own() {
    let place = Place::new();
    let script = "echo first $1; if test $1 = 2; then echo only > /dev/stdout; fi";
    let arguments = ["-w", "1", "-k", "--", "sh", "-c", script, "_"];
    place
        .run(&arguments, b"1\n2\n3\n")
        .prints("first 1\nonly\nfirst 3\n");
}

fn output_of_a_killed_worker_is_shown_with_its_attempt() {
    let place = Place::new();
    let script = "
        echo out $1; echo err $1 >&2
        if test $1$SUPERVISOR_ATTEMPT = 21; then kill -9 $PPID; read x < never; fi";
    place.gate("never");
    let arguments = sh("-w 1 -k --max-attempts 2", script, "_");
    let output = place.run(&arguments, b"1\n2\n3\n");
    let told = &output.err;
    output.ends(0).prints("out 1\nout 2\nout 3\n");
    for line in [
        "[2, attempt 1] out 2",
        "[2, attempt 1] err 2",
        "err 1",
        "err 2",
        "err 3",
    ] {
        assert_eq!(
            told.lines().filter(|told| *told == line).count(),
            1,
            "{line}: {told}"
        );
    }
}

/// The pair and the log are made again for the next ones.
fn output_is_whole_after_the_folder_was_removed() {
    let place = Place::new();
    let script = "if test $1 = 1; then rm -r .dishrack-output-*; fi; echo $1";
    let arguments = ["-w", "1", "-k", "--", "sh", "-c", script, "_"];
    place
        .run(&arguments, b"1\n2\n3\n4\n5\n")
        .prints("1\n2\n3\n4\n5\n")
        .ends(0);
}
