//! The options that belong to a COMMAND, as they are typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::{duration, groups};

#[derive(Debug, Args)]
#[command(
    next_help_heading = "Options for a COMMAND",
    group = ArgGroup::new(groups::COMMAND).multiple(true),
    group = ArgGroup::new(groups::HANDED).multiple(true)
)]
pub(in crate::cli) struct JobArgs {
    /// Run COMMAND for each item, with the item in place of {} or as the last argument; {.} is the
    /// item without extension, {/} its file name, {//} its folder, {/.} its file name without
    /// extension, {#} its number, {%} the worker's slot, {slot:NAME} what it has of --slot. Items are
    /// the lines of --input (stdin where it is not given), what follows :::, or the lines of the files
    /// that follow ::::. Several lists make all combinations, with {1} and {2} for the item of each;
    /// one after :::+ or ::::+ goes along with the list before it
    #[arg(last = true, value_name = "COMMAND", help_heading = "Arguments", group = groups::COMMAND)]
    pub(in crate::cli) command: Vec<OsString>,

    /// Items are separated by zero bytes rather than newlines
    #[arg(short = '0', long)]
    pub(in crate::cli) null: bool,

    /// Each line is a JSON value; {name} is the member of that name
    #[arg(long, conflicts_with = "null")]
    pub(in crate::cli) json: bool,

    /// Give COMMAND the item on its stdin instead, followed by a newline unless -0 is given
    #[arg(long, group = groups::HANDED)]
    pub(in crate::cli) stdin: bool,

    /// Have /bin/sh run COMMAND as a script; places may stand between any quotes there, and what is
    /// filled in is never read as a part of the script. Places where it would be evaluated are
    /// refused
    #[arg(long, group = groups::HANDED)]
    pub(in crate::cli) shell: bool,

    /// Output comes in the order of the items
    #[arg(short, long)]
    pub(in crate::cli) keep_order: bool,

    /// Output comes line by line as it is written, rather than item by item
    #[arg(long, visible_alias = "lb")]
    pub(in crate::cli) line_buffer: bool,

    /// Each line of output begins with its item and a tab
    #[arg(long)]
    pub(in crate::cli) tag: bool,

    /// Keep what each item gave in DIR/NUMBER: stdout, stderr and result.json (exit code, times)
    #[arg(long, value_name = "DIR", visible_alias = "res")]
    pub(in crate::cli) results: Option<PathBuf>,

    /// Write a line for each attempt to this file, in the columns of GNU parallel; +FILE adds to it
    #[arg(long, value_name = "FILE", visible_alias = "jl")]
    pub(in crate::cli) joblog: Option<PathBuf>,

    /// Go on after the items that have a line in --joblog, by their numbers, and add to it; a
    /// --journal knows items by what they say
    #[arg(long, requires = "joblog")]
    pub(in crate::cli) resume: bool,

    /// The same, and run again those whose every line is of a failure
    #[arg(long, requires = "joblog")]
    pub(in crate::cli) resume_failed: bool,

    /// Stop when so many items, or so much of all of them, were given up on by this run: `now` kills what runs,
    /// `soon` lets it finish
    #[arg(
        long,
        value_name = "now|soon,fail=N|P%",
        visible_alias = "halt-on-error"
    )]
    pub(in crate::cli) halt: Option<String>,

    /// Time between the starts of two new items at least; retries do not wait for it
    #[arg(long, value_name = "DUR", value_parser = duration, allow_hyphen_values = true)]
    pub(in crate::cli) delay: Option<Duration>,

    /// Print the commands instead of running them
    #[arg(long, visible_alias = "dryrun")]
    pub(in crate::cli) dry_run: bool,

    /// Set this variable for COMMAND; may be given more than once
    #[arg(long, value_name = "NAME=VALUE")]
    pub(in crate::cli) env: Vec<OsString>,

    /// Run COMMAND in this folder
    #[arg(long, value_name = "DIR", visible_alias = "wd")]
    pub(in crate::cli) workdir: Option<PathBuf>,

    /// Each worker is one process of COMMAND that stays and serves many items: it reads one JSON
    /// request a line and answers one a line. COMMAND is split into words as a shell does it; what
    /// follows -- are the arguments of each request
    #[arg(long, value_name = "COMMAND", group = groups::COMMAND)]
    pub(in crate::cli) worker: Option<OsString>,
}

impl JobArgs {
    /// Returns `true` if the items are run by commands.
    pub(in crate::cli) fn are_meant(&self) -> bool {
        !self.command.is_empty() || self.worker.is_some()
    }
}
