//! Options that people try by habit, from many programs, and what does here what they expect of them.

/// Habits, each with its names, and the advice for all of them.
type Habits = &'static [(&'static [&'static str], &'static str)];

/// Of a run, and of what is like one.
const OF_RUNS: Habits = &[
    (
        &[
            "--concurrency",
            "--parallel",
            "--parallelism",
            "--threads",
            "--processes",
            "--procs",
            "--pool",
            "--max-workers",
            "-c",
        ],
        "-w N is the number of workers",
    ),
    (
        &["--throttle", "--limit", "--rps", "--qps"],
        "--rate 10/s bounds how often items begin, and -w N how many run",
    ),
    (
        &["--serial", "--sequential", "--one-by-one"],
        "-w 1 runs one at a time",
    ),
    (
        &[
            "--fail-fast",
            "--failfast",
            "--stop-on-error",
            "--abort-on-error",
        ],
        "--halt now,fail=1 ends the run with the first item that is given up on",
    ),
    (
        &["--keep-going", "--continue", "--ignore-errors"],
        "it is so anyway: --halt ends a run early",
    ),
    (
        &["--cwd", "--chdir", "--directory", "--dir"],
        "--workdir DIR is where commands run",
    ),
    (
        &["--file", "--items", "--list", "--from", "-f"],
        "--input FILE has an item in each line, and so has stdin",
    ),
    (
        &["--mutex", "--lock"],
        "--key TEMPLATE runs items of the same key one at a time",
    ),
    (
        &[
            "--gpus",
            "--gpu",
            "--resource",
            "--resources",
            "--device",
            "--devices",
        ],
        "--slot gpu=0,1,2,3 gives each command one for itself",
    ),
    (
        &["--log", "--logfile", "--log-file"],
        "--joblog FILE has a line for each attempt, --results DIR the output of each item",
    ),
    (
        &["--output", "--outdir", "--output-dir", "--logdir"],
        "--results DIR keeps the output of each item",
    ),
    (
        &["--mem", "--memory-limit", "--max-memory", "--rlimit"],
        "--memory SIZE bounds an item, and --memory-free SIZE when one begins",
    ),
    (
        &["--until-done"],
        "it is an option of `supervisor work`: a run ends when all is done",
    ),
    (
        &["--detach", "--daemon", "--daemonize", "--background"],
        "supervisor add --start starts a queue in the background, and `supervisor serve` one that stays",
    ),
];

const OF_ADD: Habits = &[
    (
        &["--shell", "-c"],
        "a shell runs a script by: supervisor add -- sh -c 'SCRIPT'",
    ),
    (
        &[
            "--timeout",
            "--retries",
            "--max-attempts",
            "--backoff",
            "--slot",
            "--memory",
            "--memory-free",
            "--load",
            "--rate",
            "--workers",
            "--jobs",
            "-w",
            "-j",
        ],
        "it is the queue's, for all its commands: supervisor serve has it",
    ),
    (
        &["--delay", "--wait", "--at-time"],
        "--not-before 3s is a time before which it does not begin",
    ),
    (
        &["--label", "--title", "-l", "-L"],
        "--name TEXT is what people see in place of the words",
    ),
    (
        &["--dependency", "--depends-on", "--deps", "-d", "-D"],
        "--after ITEM[,ITEM] begins it when those are done",
    ),
    (
        &["--cwd", "--chdir", "--working-directory", "--wd"],
        "--workdir DIR is where it runs",
    ),
    (
        &["--group", "-g"],
        "each queue is a group: `supervisor serve --name NAME`, and --at NAME here",
    ),
    (
        &["--follow", "-f"],
        "supervisor logs -f ITEM follows its output",
    ),
    (
        &["--immediate", "-i"],
        "it begins when a worker is free; --priority lets it go before others",
    ),
    (
        &["--print-task-id", "-p"],
        "the number of the item is printed anyway",
    ),
];

/// Returns the advice for an option of a run, or of this subcommand.
pub(super) fn advice(subcommand: &str, option: &str) -> Option<&'static str> {
    let option = option.split('=').next().unwrap_or_default();
    let habits = match subcommand {
        "add" => OF_ADD,
        "" | "serve" | "work" => OF_RUNS,
        _ => return None,
    };
    let mut found = habits.iter().filter(|(names, _)| names.contains(&option));
    found.next().map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::command_line::CommandLine;

    #[test]
    fn no_habit_is_an_option_that_there_is() {
        let whole = CommandLine::whole();
        let add = whole.find_subcommand("add").unwrap();
        for (command, habits) in [(&whole, OF_RUNS), (add, OF_ADD)] {
            let mut seen = BTreeSet::new();
            for name in habits.iter().flat_map(|(names, _)| *names) {
                assert!(seen.insert(name), "{name} is there twice");
                let is_one = |arg: &clap::Arg| {
                    let long = arg.get_long_and_visible_aliases().unwrap_or_default();
                    let short = arg.get_short_and_visible_aliases().unwrap_or_default();
                    let has_long = name
                        .strip_prefix("--")
                        .is_some_and(|name| long.contains(&name));
                    has_long || short.iter().any(|short| **name == format!("-{short}"))
                };
                assert!(!command.get_arguments().any(is_one), "{name}");
            }
        }
        assert!(advice("", "--gpus=2").unwrap().contains("--slot"));
        assert!(advice("add", "--shell").unwrap().contains("sh -c"));
        assert_eq!(advice("list", "--shell"), None);
    }
}
