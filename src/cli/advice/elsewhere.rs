//! The options of xargs (findutils 4.9) and GNU parallel (20221122), each with its answer here. The
//! reference is made of them, and so is the advice for whoever types one that is not there.

/// The answer to an option of another program.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) enum Counterpart {
    /// It means the same here.
    Same,
    /// It is there, with this difference.
    Here(&'static str),
    /// It is not there. This is what does it, or why nothing does.
    Instead(&'static str),
}

use Counterpart::{Here, Instead, Same};

const MACHINES: Counterpart = Instead(
    "`supervisor put --redis URL` and `supervisor work --redis URL` share items between machines",
);

const BLOCKS: Counterpart =
    Instead("--stdin gives COMMAND one item on its stdin; split makes blocks of a file");

const SERVED: Counterpart = Instead(
    "`supervisor serve` has a queue that stays, `supervisor add` puts commands on it, and `supervisor wait` waits for them",
);

const SIGNS: Counterpart = Instead(
    "the places are {} {.} {/} {//} {/.} {#} {%} and {1} {2}; -I TEXT names another for {}",
);

const COLOURS: Counterpart = Instead("--tag has each line begin with its item");

const JOURNALS: Counterpart =
    Instead("--journal FILE keeps items and their ends, --redis URL for several machines");

const THREADS: Counterpart =
    Instead("a processor is what nproc counts; -w P% takes a part of them");

const TERMINAL: Counterpart = Instead("a COMMAND has no terminal here");

/// An option by its names, and the answer to it.
type Elsewhere = (&'static [&'static str], Counterpart);

/// All of them, those that are here first.
pub(in crate::cli) const OPTIONS: &[Elsewhere] = &[
    (&["-0", "--null"], Same),
    (&["-a", "--arg-file"], Same),
    (&["-d", "--delimiter"], Here("one byte")),
    (
        &["-C", "--colsep"],
        Here("a regular expression as of Rust's regex, without look-around"),
    ),
    (
        &[
            "-n",
            "-N",
            "-L",
            "--max-args",
            "--max-replace-args",
            "--max-lines",
        ],
        Here(
            "a line is one item, whatever spaces and quotes are in it; the value of --max-lines cannot be left out",
        ),
    ),
    (
        &["-X"],
        Here("up to the system's limit, which parallel leaves at 128 KiB"),
    ),
    (&["-m"], Here("the same")),
    (&["--xargs"], Here("the same")),
    (
        &["-s", "--max-chars"],
        Here("without the environment; K, M and G are known"),
    ),
    (
        &["-I"],
        Here(
            "where it does not stand in the COMMAND, the item is appended, as parallel does; {.} and the others stay",
        ),
    ),
    (&["--replace"], Here("its value cannot be left out")),
    (&["--link", "--xapply"], Same),
    (
        &["-j", "-P", "--jobs", "--max-procs"],
        Here(
            "0 and the name of a file are refused; `supervisor scale` changes the number in mid-run",
        ),
    ),
    (&["-k", "--keep-order"], Same),
    (&["--group"], Same),
    (&["--line-buffer", "--lb"], Same),
    (
        &["--tag"],
        Here("several arguments stand in a shell's quotes"),
    ),
    (
        &["--results", "--res"],
        Here("DIR/NUMBER/stdout, stderr and result.json; no file by --results x.csv"),
    ),
    (
        &["--joblog", "--jl"],
        Here(
            "a row for each attempt; Signal is that of the command itself, without a shell between",
        ),
    ),
    (&["--resume"], Here("by --joblog alone")),
    (&["--resume-failed"], Same),
    (&["--retries"], Same),
    (&["--delay"], Here("no auto")),
    (&["--timeout"], Here("no percentage")),
    (
        &["--halt", "--halt-on-error"],
        Here("now or soon, and fail=N or fail=P%; no success, done, 1 or 2"),
    ),
    (&["--dry-run", "--dryrun"], Same),
    (
        &["--workdir", "--wd"],
        Here("the folder must be there, and ... has no meaning"),
    ),
    (
        &["--env"],
        Here("NAME=VALUE sets one; those that there are, a COMMAND has anyway"),
    ),
    (
        &["--load"],
        Here("threads that run or are ready to, not the load average"),
    ),
    (&["--memfree"], Here("nothing is killed below half of it")),
    (&["--nice"], Same),
    (&["--bar", "--eta"], Here("both are --progress bar")),
    (&["--progress"], Here("with a value: bar, json, auto, none")),
    (
        &["-r", "--no-run-if-empty"],
        Here("nothing is run without an item anyway"),
    ),
    (&["--gnu", "--will-cite"], Here("they change nothing")),
    (
        &["-q"],
        Here("it is --quiet: words are never read by a shell, so nothing needs quotes"),
    ),
    (&["-h", "--help", "-V", "--version"], Same),
    (
        &["--quote", "--shellquote", "--shell-quote"],
        Instead(
            "words are never read by a shell, so nothing needs quotes; --dry-run prints them quoted",
        ),
    ),
    (
        &["--arg-sep", "--arg-file-sep"],
        Instead("::: and :::: are the only signs for lists"),
    ),
    (
        &["--argfile"],
        Instead("-a FILE takes the items from a file"),
    ),
    (
        &["-i"],
        Instead(
            "{} in the COMMAND stands for the item without any option; -I TEXT names another sign",
        ),
    ),
    (&["-l"], Instead("-n N gives each COMMAND so many items")),
    (
        &["-E", "-e", "--eof"],
        Instead("sed '/^TEXT$/Q' FILE ends the input there"),
    ),
    (
        &["-x", "--exit"],
        Instead(
            "a COMMAND that would be too long is given up on; --halt now,fail=1 ends the run there",
        ),
    ),
    (&["-o", "--open-tty", "--tty"], TERMINAL),
    (
        &["-p", "--interactive"],
        Instead("nothing is asked: --dry-run prints the commands before they are run"),
    ),
    (
        &["-t", "-v", "--verbose"],
        Instead("--dry-run prints the commands; --joblog FILE notes those that were run"),
    ),
    (
        &["--silent", "--no-keep-order", "--plain"],
        Instead("it is so anyway"),
    ),
    (
        &["-u", "--ungroup"],
        Instead("--line-buffer shows each line as it comes"),
    ),
    (
        &["--process-slot-var"],
        Instead("$SUPERVISOR_SLOT and {%} have the worker's slot"),
    ),
    (
        &["--show-limits", "--max-line-length-allowed"],
        Instead("getconf ARG_MAX prints the system's limit, which -X keeps to"),
    ),
    (
        &["--pipe", "--spreadstdin", "--pipe-part", "--pipepart"],
        BLOCKS,
    ),
    (
        &[
            "--block",
            "--block-size",
            "--block-timeout",
            "--bt",
            "--cat",
            "--fifo",
            "--recstart",
            "--recend",
            "--regexp",
            "--remove-rec-sep",
            "--removerecsep",
            "--rrs",
            "--round-robin",
            "--round",
            "--tee",
            "--shard",
            "--bin",
            "--group-by",
        ],
        BLOCKS,
    ),
    (
        &[
            "-S",
            "--sshlogin",
            "--sshloginfile",
            "--slf",
            "--ssh",
            "--ssh-delay",
            "--controlmaster",
            "-M",
            "--basefile",
            "--bf",
            "--transfer",
            "--transferfile",
            "--tf",
            "--return",
            "--trc",
            "--cleanup",
            "--onall",
            "--nonall",
            "--hostgroups",
            "--hgrp",
            "--filter-hosts",
            "--rsync-opts",
        ],
        MACHINES,
    ),
    (
        &["--shuf"],
        Instead("shuf mixes lines: shuf FILE | supervisor -- COMMAND"),
    ),
    (
        &["--skip-first-line"],
        Instead("tail -n +2 FILE leaves the first line out"),
    ),
    (
        &["--header"],
        Instead(
            "--json fills in members by their names, as {name}; tail -n +2 leaves a header out",
        ),
    ),
    (
        &["--csv"],
        Instead("--colsep , splits at each comma; --json takes any text apart safely"),
    ),
    (&["--trim"], Instead("sed takes blanks away")),
    (&["--filter"], Instead("grep, awk or jq chooses the lines")),
    (
        &["--total-jobs", "--total"],
        Instead("items are counted while the first of them run"),
    ),
    (&["--tagstring"], COLOURS),
    (
        &[
            "--color",
            "--color-failed",
            "--cf",
            "--ctag",
            "--ctagstring",
        ],
        COLOURS,
    ),
    (
        &["--latest-line", "--ll"],
        Instead("--progress bar shows what each worker does, and so does `supervisor top`"),
    ),
    (
        &["--files", "--output-as-files", "--outputasfiles"],
        Instead("--results DIR keeps what each item gave in files"),
    ),
    (
        &[
            "--tmpdir",
            "--compress",
            "--compress-program",
            "--decompress-program",
        ],
        Instead("the variable TMPDIR names the folder for output that waits"),
    ),
    (
        &["--memsuspend"],
        Instead(
            "--memory-free SIZE begins nothing while less is free, and --memory SIZE is the most for one item",
        ),
    ),
    (
        &["--noswap"],
        Instead("--pressure 10% begins nothing while something waits for memory"),
    ),
    (
        &["--retry-failed"],
        Instead(
            "--resume-failed with the same COMMAND and input; `supervisor dead retry` with a journal",
        ),
    ),
    (
        &[
            "--semaphore",
            "--semaphore-name",
            "--id",
            "--semaphore-timeout",
            "--st",
            "--bg",
            "--fg",
            "--wait",
        ],
        SERVED,
    ),
    (
        &[
            "--sql",
            "--sql-master",
            "--sqlmaster",
            "--sql-and-worker",
            "--sqlandworker",
            "--sql-worker",
            "--sqlworker",
        ],
        JOURNALS,
    ),
    (
        &["--session", "--record-env", "--recordenv"],
        Instead("a COMMAND has the environment of the run; --env NAME=VALUE adds to it"),
    ),
    (
        &["--profile", "-J"],
        Instead("a shell's alias or function can hold options"),
    ),
    (
        &[
            "--plus",
            "--rpl",
            "--parens",
            "-U",
            "--basenamereplace",
            "--bnr",
            "--basenameextensionreplace",
            "--bner",
            "--dirnamereplace",
            "--dnr",
            "--extensionreplace",
            "--er",
            "--seqreplace",
            "--slotreplace",
        ],
        SIGNS,
    ),
    (
        &["--template", "--tmpl"],
        Instead("--shell with a here-document fills places into a text"),
    ),
    (
        &[
            "--shebang",
            "--hashbang",
            "--shebang-wrap",
            "--embed",
            "--_parset",
        ],
        Instead("a script calls supervisor by its name"),
    ),
    (
        &["--shell-completion"],
        Instead("`supervisor completions SHELL` prints them"),
    ),
    (
        &["--tmux", "--tmuxpane"],
        Instead("`supervisor top` shows the run, and `supervisor logs -f ITEM` follows one"),
    ),
    (
        &["--term-seq", "--termseq"],
        Instead(
            "--timeout sends SIGTERM and SIGKILL a second later; --shutdown is the time for a stop",
        ),
    ),
    (
        &[
            "--number-of-cpus",
            "--number-of-cores",
            "--number-of-sockets",
            "--number-of-threads",
            "--use-sockets-instead-of-threads",
            "--use-cores-instead-of-threads",
            "--use-cpus-instead-of-cores",
        ],
        THREADS,
    ),
    (
        &["--minversion", "--citation"],
        Instead("--version prints the version"),
    ),
];
