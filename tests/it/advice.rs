//! The advice for users who type what other programs know, and the texts of each help.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::said::{Said, words};

crate::trials!(
    a_word_in_the_wrong_place_is_told_where_it_belongs,
    options_of_other_programs_are_told_by_ours,
    each_option_of_xargs_and_parallel_works_or_is_answered,
    a_number_of_workers_is_not_taken_for_a_worker,
    what_only_a_shell_knows_is_told_by_the_option_for_it,
    help_for_work_shows_what_work_takes,
    help_begins_with_what_a_command_needs,
    each_subcommand_has_examples,
    what_nobody_reads_on_stdin_is_told,
    the_summary_can_be_left_out,
    a_journal_of_another_command_is_told,
);

fn supervisor(arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.env_remove("REDIS_URL");
    command.args(arguments).output().unwrap().into()
}

/// Returns the message of a call that ends with exit code 2, in one line.
fn refusal(arguments: &[&str]) -> String {
    let said = supervisor(arguments);
    said.ends(2).hides("panicked");
    said.err.replace('\n', " ")
}

fn help(arguments: &[&str]) -> String {
    let said = supervisor(&[arguments, &["--help"]].concat());
    said.ends(0);
    said.out
}

fn a_word_in_the_wrong_place_is_told_where_it_belongs() {
    let cases = [
        ("dead list jj", "supervisor dead list --journal jj"),
        ("help", "supervisor --help"),
        ("gzip", "supervisor -- gzip"),
        ("::: a", "supervisor -- gzip ::: a b"),
        ("work gzip", "supervisor work -- gzip"),
        ("work ::: a", "supervisor put ::: ITEM"),
        ("status mails", "supervisor status --stream mails"),
        ("salvage jj", "salvage --journal jj"),
    ];
    for (arguments, advice) in cases {
        let said = refusal(&words(arguments));
        assert!(said.contains(advice), "{arguments:?}: {said}");
        let is_misled = said.contains("supervisor -- jj") || said.contains("supervisor -- help");
        assert!(!is_misled, "{said}");
    }
}

fn options_of_other_programs_are_told_by_ours() {
    let cases = [
        ("-i", "{} in the COMMAND"),
        ("-S host", "supervisor work"),
        ("-u", "--line-buffer"),
        ("-t", "--dry-run"),
        ("--pipe", "--stdin"),
        ("--shuf", "shuf FILE"),
        ("--retry-failed", "--resume-failed"),
        ("--tmpdir x", "TMPDIR"),
        ("--argfile x", "-a FILE"),
    ];
    for (arguments, advice) in cases {
        let said = refusal(&[&words(arguments)[..], &["--", "echo"]].concat());
        assert!(said.contains(advice), "{arguments:?}: {said}");
        for misleading in ["use '-- ", "a similar argument"] {
            assert!(!said.contains(misleading), "{misleading}: {said}");
        }
    }
    // A mistyped option is found among this program's own.
    assert!(refusal(&["--worker-s", "4"]).contains("--workers"));
}

/// The options of xargs (findutils 4.9) and GNU parallel (20221122), each with a value as it is typed
/// there.
const OF_OTHERS: &str = "
-0|--null|-a FILE|--arg-file FILE|-d ,|--delimiter ,|-E x|-e x|--eof x|-I %|-i|--replace %|-L 2|-l 2
--max-lines 2|-n 2|--max-args 2|-P 2|--max-procs 2|-o|--open-tty|-p|--interactive|--process-slot-var S
-r|--no-run-if-empty|-X -s 900|-m --max-chars 900|--show-limits|-t|--verbose|-x|--exit
--arg-file-sep x|--arg-sep x|--bar|--basefile x|--bf x|--basenamereplace x|--bnr x
--basenameextensionreplace x|--bner x|--bin x|--bg|--block 1|--block-size 1|--block-timeout 1|--bt 1|--cat
--cleanup|--color|--color-failed|--cf|--colsep ,|-C ,|--compress|--compress-program x
--decompress-program x|--csv|--ctag|--ctagstring x|--delay 0|--dirnamereplace x|--dnr x|--dry-run|--embed
--env A=1|--eta|--fg|--fifo|--filter x|--filter-hosts|--gnu|--group|--group-by x|--halt-on-error now,fail=1
--halt soon,fail=3%|--header :|--hostgroups|--hgrp|--joblog JOBLOG|--jl JOBLOG|--jobs 2|-j 2|--jobs +2
-j +2|-P +1|-j -2|--jobs -2|-j 50%|--max-procs 50%|--keep-order|-k|--latest-line|--ll|--line-buffer|--lb
--link|--xapply|--load 100%|--controlmaster|-M|-m|--memfree 1M|--memsuspend 1M|--minversion 1
--max-replace-args 2|-N 2|--nonall|--onall|--output-as-files|--outputasfiles|--files|--pipe|--spreadstdin
--pipe-part|--plain|--plus|--progress none|--max-line-length-allowed|--number-of-cpus|--number-of-cores
--number-of-sockets|--number-of-threads|--no-keep-order|--nice 3|--_parset x|--parens x|--profile x|-J x
--quote|-q|--noswap|--record-env|--recstart x|--recend x|--regexp|--remove-rec-sep|--removerecsep|--rrs
--results RESULTS|--res RESULTS|--resume --joblog JOBLOG|--resume-failed --joblog JOBLOG|--retry-failed
--retries 3|--return x|--round-robin|--round|--rpl x|--rsync-opts x|--semaphore|--semaphore-name x|--id x
--semaphore-timeout 1|--st 1|--seqreplace x|--session|--shard x|--shebang|--hashbang|--shebang-wrap
--shell-completion x|--shell-quote|--shuf|--skip-first-line|--sql x|--sql-master x|--sql-and-worker x
--sql-worker x|--ssh x|--ssh-delay 1|--sshlogin x|-S x|--sshloginfile x|--slf x|--slotreplace x|--silent
--template x|--tmpl x|--tty|--tag|--tagstring x|--tee|--term-seq x|--total-jobs 3|--total 3|--tmpdir x
--tmux|--tmuxpane|--timeout 9|--transfer|--transferfile x|--tf x|--trc x|--trim n|--ungroup|-u
--extensionreplace x|--er x|--use-sockets-instead-of-threads|--use-cores-instead-of-threads
--use-cpus-instead-of-cores|-v|--workdir SUB|--wd SUB|--wait|-X|--xargs|--will-cite|--citation
";

/// It works, or the error has a tip of this program's own.
fn each_option_of_xargs_and_parallel_works_or_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("FILE"), "a\n").unwrap();
    std::fs::create_dir(folder.path().join("SUB")).unwrap();
    let options = OF_OTHERS
        .split(['|', '\n'])
        .filter(|option| !option.is_empty());
    let mut count = 0;
    for option in options {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command.args(words(option)).current_dir(folder.path());
        command
            .args(["--dry-run", "--", "true"])
            .stdin(Stdio::null());
        let said = Said::from(command.output().unwrap());
        let is_answered = said.code == Some(2) && said.err.contains("tip: ");
        assert!(
            is_answered || said.code == Some(0),
            "{option}: {}",
            said.err
        );
        let tip = said.err.split("tip: ").nth(1).unwrap_or_default();
        assert!(
            !tip.contains("similar") && !tip.contains("use '--"),
            "{option}: {tip}"
        );
        count += 1;
    }
    assert!(count > 200, "{count}");
}

fn a_number_of_workers_is_not_taken_for_a_worker() {
    let said = refusal(&["--worker", "2"]);
    assert!(said.contains("--workers 2"), "{said}");
    assert!(!said.contains("127"), "{said}");
}

fn what_only_a_shell_knows_is_told_by_the_option_for_it() {
    for command in ["gzip -9", "cd", "export", "a|b"] {
        let said = refusal(&["--", command, ":::", "x"]);
        assert!(said.contains("command not found"), "{said}");
        assert!(said.contains("--shell"), "{command}: {said}");
    }
    let said = refusal(&["--", "no-such-program", ":::", "x"]);
    assert!(!said.contains("--shell"), "{said}");
}

fn help_for_work_shows_what_work_takes() {
    let help = help(&["work"]);
    for word in [
        "--input",
        ":::",
        "--keep-order",
        "--delay",
        "--dry-run",
        "stdin where",
    ] {
        assert!(!help.contains(word), "{word}: {help}");
    }
    for word in ["{.}", "--until-done", "--stdin", "Examples:"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

fn help_begins_with_what_a_command_needs() {
    let help = help(&[]);
    let place = |word: &str| help.find(word).unwrap_or_else(|| panic!("{word}"));
    let order = [
        "\nArguments:",
        "\nOptions for a COMMAND:",
        "\nOptions for items",
        "\nOptions for workers",
        "\nOptions for what is shown:",
        "\nOptions for a queue on Redis:",
        "\nExamples:",
    ];
    assert!(order.is_sorted_by_key(|word| place(word)), "{help}");
    assert!(place("--workers <N>") > place("\nOptions for workers"));
    assert!(place("\nOptions for dishes:") > place("\nOptions for a COMMAND:"));
}

fn each_subcommand_has_examples() {
    for name in ["put", "work", "join", "dead", "status", "compare"] {
        let help = help(&[name]);
        let (_, examples) = help
            .split_once("\nExamples:\n")
            .unwrap_or_else(|| panic!("{name}"));
        assert!(
            examples.contains(&format!("supervisor {name} ")),
            "{examples}"
        );
    }
}

fn what_nobody_reads_on_stdin_is_told() {
    const TOLD: &str = "what comes on stdin is not read";
    let run = |input: Option<&[u8]>, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command
            .args(["-w", "1", "--wash", "0", "--dry", "0", "-q"])
            .args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let (reader, mut writer) = std::io::pipe().unwrap();
        // The input is there before the run begins.
        writer.write_all(input.unwrap_or_default()).unwrap();
        drop(writer);
        let child = command.stdin(reader).spawn().unwrap();
        let said = Said::from(child.wait_with_output().unwrap());
        said.ends(0);
        said.err
    };
    assert!(run(Some(b"a\nb\n"), &[]).contains(TOLD));
    assert!(!run(None, &[]).contains(TOLD), "nothing comes");
    assert!(!run(Some(b"a\n"), &["--input", "-"]).contains(TOLD));
    let quiet = supervisor(&["-q", "--wash", "0", "--dry", "0"]);
    assert!(!quiet.err.contains(TOLD), "/dev/null");
}

fn the_summary_can_be_left_out() {
    let arguments = ["-w", "1", "--no-summary", "--", "echo", ":::", "a"];
    let output = supervisor(&arguments);
    output.prints("a\n");
    assert_eq!(output.err, "");
    let output = supervisor(&[&["--format", "json"], &arguments[..]].concat());
    assert!(!output.out.contains("summary"));
    // The failure is reported.
    let arguments = words("--no-summary --max-attempts 1 -- false ::: a");
    let output = supervisor(&arguments);
    output.ends(1);
    let said = &output.err;
    assert_eq!(said.lines().count(), 1, "{said}");
    output.tells("a: given up on");
}

fn a_journal_of_another_command_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j");
    let run = |command: &str| {
        let journal = journal.to_str().unwrap();
        let output = supervisor(&[
            "-w",
            "1",
            "--journal",
            journal,
            "--",
            command,
            ":::",
            "a",
            "b",
        ]);
        output.ends(0);
        (output.out, output.err)
    };
    let told = |said: &str| said.contains("is the journal of another COMMAND (echo ");
    for _ in 0..2 {
        assert!(!told(&run("echo").1));
    }
    let (printed, said) = run("basename");
    assert_eq!(printed, "", "nothing is done again");
    assert!(told(&said), "{said}");
    assert!(said.contains("name another journal"), "{said}");
    assert!(!told(&run("basename").1), "once is enough");
}
