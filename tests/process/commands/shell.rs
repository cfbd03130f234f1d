//! `--shell`: values reach scripts unchanged, and the printed commands do the same.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Place, Said};

crate::trials!(
    values_arrive_between_all_quotes_and_nothing_of_them_is_run,
    members_of_json_arrive_and_are_not_run,
    a_script_is_refused_before_anything_runs,
    a_script_has_no_arguments_and_keeps_its_line_numbers,
    values_are_not_in_the_environment_of_what_a_script_starts,
    a_zero_byte_fails_its_item_only,
    what_a_dry_run_prints_does_the_same,
    an_item_forges_no_row_of_the_job_log,
);

/// Items that would make a file if they were evaluated.
const HOSTILE: [&[u8]; 8] = [
    b"$(touch PWNED)",
    b"`touch PWNED`",
    b"'; touch PWNED; '",
    b"\"; touch PWNED; \"",
    b"x\nEOF\ntouch PWNED\nEOF\n",
    b"a[$(touch PWNED)]",
    b"};touch PWNED;{ \\",
    b"\xff\t*",
];

/// Returns them with a zero byte behind each, as `-0` takes them.
fn hostile() -> Vec<u8> {
    HOSTILE.join(&0)
}

fn values_arrive_between_all_quotes_and_nothing_of_them_is_run() {
    let place = Place::new();
    let script = "printf '<%s>' {} \"{}\" '{}' \"$(printf '%s.' \"{}\")\" \"${x:-{}}\"; \
                  cat <<EOF # {}\n{}\nEOF\n";
    let output = place.run(&["-0", "-k", "--shell", "--", script], &hostile());
    let mut expected = Vec::new();
    for item in HOSTILE {
        for end in [">", ">", ">", ".>", ">"] {
            expected.extend([b"<", item, end.as_bytes()].concat());
        }
        expected.extend([item, b"\n"].concat());
    }
    assert!(
        output.stdout == expected,
        "{}",
        output.stdout.escape_ascii()
    );
    output.ends(0);
    assert!(!place.path("PWNED").exists());
}

fn members_of_json_arrive_and_are_not_run() {
    let place = Place::new();
    let lines: String = HOSTILE
        .iter()
        .map(|item| {
            let text = String::from_utf8_lossy(item);
            serde_json::json!({ "name": text }).to_string() + "\n"
        })
        .collect();
    let script = "printf '<%s>' \"$(printf '%s.' '{name}')\"";
    let output = place.run(&["--json", "-k", "--shell", "--", script], lines.as_bytes());
    let expected = HOSTILE.map(|item| format!("<{}.>", String::from_utf8_lossy(item)));
    output.prints(expected.concat());
    assert!(!place.path("PWNED").exists());
    // A variable of the script is independent of the item.
    let output = place.run(
        &["--json", "--shell", "--", "echo ${name}"],
        b"{\"name\":1}\n",
    );
    output.ends(2).tells("--shell: {name} stands behind a $");
}

fn a_script_is_refused_before_anything_runs() {
    let place = Place::new();
    for (script, why) in [
        (
            "touch ran; eval {}",
            "--shell: {} would be evaluated by eval",
        ),
        (
            "touch ran; echo $(( {} ))",
            "--shell: {} stands in arithmetic",
        ),
        ("touch ran; {.}=x", "--shell: {.} stands on the left side"),
        (
            "touch ran\ncat <<'E'\n{/}\nE\n",
            "--shell: {/} stands in a here-document",
        ),
        ("touch ran; sh -c 'ls {}'", "sh -c '... \"$1\" ...' sh {}"),
        ("touch ran; echo {} 'x", "a ' is not closed"),
    ] {
        for options in [&["--shell"][..], &["--shell", "--dry-run"]] {
            let output = place.run(&[options, &["--", script]].concat(), b"a\nb\n");
            assert_eq!(output.code, Some(2), "{script}");
            let said = &output.err;
            assert!(said.contains(why), "{script}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(output.stdout.is_empty());
            assert!(!place.path("ran").exists(), "{script}");
        }
    }
}

fn a_script_has_no_arguments_and_keeps_its_line_numbers() {
    let place = Place::new();
    let script = "echo \"$0 $#\" {}\nnosuch-command";
    let output = place.run(&["--max-attempts", "1", "--shell", "--", script], b"i\n");
    output.prints("/bin/sh 0 i\n").tells("2: ");
}

fn values_are_not_in_the_environment_of_what_a_script_starts() {
    let place = Place::new();
    let script = "set -a; : {}; env";
    let mut command = place.supervisor(&["--shell", "--", script, ":::", "seen-nowhere"]);
    // This holds even if the name is in the environment.
    command.env("_supervisor_1", "old");
    let output = Said::from(command.output().unwrap());
    output.ends(0);
    let text = &output.out;
    assert!(text.contains("SUPERVISOR_ITEM=1"), "{text}");
    assert!(!text.contains("seen-nowhere"), "{text}");
}

fn a_zero_byte_fails_its_item_only() {
    let place = Place::new();
    let output = place.run(
        &[
            "--max-attempts",
            "1",
            "--json",
            "-k",
            "--shell",
            "--",
            "echo {x}",
        ],
        b"{\"x\":\"a\\u0000b\"}\n{\"x\":\"c\"}\n",
    );
    output.ends(1).prints("c\n");
}

/// Both forms of a line do the same: with the values in it, and with the words of the command.
fn what_a_dry_run_prints_does_the_same() {
    let place = Place::new();
    for script in [
        "printf '<%s>' {} \"{}\" '{}' \"$(printf '%s.' {})\"",
        "cat <<EOF\n{}\nEOF",
    ] {
        for item in HOSTILE {
            let arguments = ["-0", "--shell", "--", script];
            let ran = place.run(&arguments, item);
            let shown = place.run(&[&["--dry-run"], &arguments[..]].concat(), item);
            let mut shell = Command::new("sh");
            let pasted = super::feed(
                shell.current_dir(place.folder.path()).stdin(Stdio::null()),
                &shown.stdout,
            );
            let line = shown.stdout.escape_ascii();
            assert!(ran.stdout == pasted.stdout, "{line}");
            assert!(!place.path("PWNED").exists(), "{line}");
        }
    }
    place
        .run(&["--dry-run", "--shell", "--", "wc {}"], b"a b\n")
        .prints("wc 'a b'\n");
}

fn an_item_forges_no_row_of_the_job_log() {
    let place = Place::new();
    let forged = "x\n9\t:\t1.000\t     1.000\t0\t0\t0\t0\ttrue\u{85}\u{1b}[2J";
    for words in [
        &["--shell", "--", "printf %s {}"][..],
        &["--", "printf", "%s"],
    ] {
        let options = ["-0", "--joblog", "log", "--results", "results"];
        place
            .run(&[&options, words].concat(), forged.as_bytes())
            .ends(0)
            .prints(forged);
        let rows = place.joblog("log");
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0].len(), 9, "{rows:?}");
        let command = &rows[0][8];
        assert!(!command.contains(char::is_control), "{command:?}");
        let result: Value = serde_json::from_str(&place.text("results/1/result.json")).unwrap();
        assert_eq!(result["command"], **command);
        // A shell with $'...' runs the line with the same result.
        if super::has_program("bash") {
            let mut shell = Command::new("bash");
            let pasted = super::feed(shell.current_dir(place.folder.path()), command.as_bytes());
            assert_eq!(pasted.out, forged, "{command}");
        }
    }
    let output = place.run(
        &["-0", "--joblog", "log", "--shell", "--", "echo {} >{.}.x"],
        b"a 'b'.c",
    );
    output.ends(0);
    let command = &place.joblog("log")[0][8];
    assert_eq!(command, r"echo 'a '\''b'\''.c' >'a '\''b'\'''.x");
}
