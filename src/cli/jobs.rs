//! Runs of a command: what the options for it mean, and the items that are given to it.

mod budget;
mod halt;
mod joblog;
mod output;
mod patience;
mod program;
mod results;
mod scratch;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_bytes::ByteBuf;

use self::budget::Budget;
pub(super) use self::halt::Fuse;
use self::halt::Halt;
use self::joblog::JobLog;
use self::output::{Outputs, Shape};
use self::patience::Patience;
use self::results::Results;
use super::args::{Format, JobArgs};
use super::config::Config;
use super::input::{self, Line, Source};
use super::view::{Out, View};
use super::work::{Bench, Origin, Work};
use super::{Failure, code, pictures, screen};
use crate::error::Error;
use crate::jobs::persistent::request_line;
use crate::jobs::spool::Spool;
use crate::jobs::template::{Template, Values};
use crate::jobs::{self, Feed, Job, Setup};
use crate::observe::spans::Labels;
use crate::observe::text::Words;
use crate::queue::JoinableQueue;
use crate::supervision::{Builder, Supervisor};

pub(super) use self::scratch::remove as remove_scratch;

/// What stands before items on the command line.
const GIVEN: &[u8] = b":::";

/// A run of a command that can be.
#[derive(Debug)]
pub(super) struct JobConfig {
    setup: Setup,
    is_json: bool,
    separator: u8,
    pub(super) is_dry_run: bool,
    pub(super) delay: Option<Duration>,
    keeps_order: bool,
    is_line_buffered: bool,
    is_tagged: bool,
    results: Option<PathBuf>,
    joblog: Option<joblog::Place>,
    halt: Option<Halt>,
}

/// The items that follow `:::`, if it is there.
pub(super) fn given(command: &[OsString]) -> Result<Option<Vec<Vec<u8>>>, String> {
    let is_sign = |word: &OsString| word.as_bytes() == GIVEN;
    let Some(at) = command.iter().position(is_sign) else {
        return Ok(None);
    };
    let items = &command[at + 1..];
    if items.iter().any(is_sign) {
        return Err("::: stands twice: only one list of items is possible".into());
    }
    let items = items.iter().map(|item| item.as_bytes().to_vec());
    Ok(Some(items.collect()))
}

impl JobConfig {
    /// And how many items there are, where that is known.
    pub(super) fn validate(
        args: &JobArgs,
        source: &Source,
        format: Format,
        is_resumable: bool,
        taken: &mut Vec<PathBuf>,
    ) -> Result<(Self, Option<u64>), String> {
        let words: Vec<OsString> = args
            .command
            .iter()
            .take_while(|word| word.as_bytes() != GIVEN)
            .cloned()
            .collect();
        check_together(args, &words, format)?;
        let setup = setup(args, &words)?;
        let separator = if args.null { 0 } else { b'\n' };
        let total = check_items(source, separator, args.json.then_some(&setup.template))?;
        let halt = args.halt.as_deref().map(Halt::parse).transpose()?;
        // A dry run writes nothing.
        let results = args.results.as_deref().filter(|_| !args.dry_run);
        let results = results.map(results::prepare).transpose()?;
        let joblog = args.joblog.as_deref().filter(|_| !args.dry_run);
        let joblog = joblog.map(|path| joblog::open(path, is_resumable, taken));
        let joblog = joblog.transpose()?;
        let config = JobConfig {
            setup,
            is_json: args.json,
            separator,
            is_dry_run: args.dry_run,
            delay: args.delay,
            keeps_order: args.keep_order,
            is_line_buffered: args.line_buffer,
            is_tagged: args.tag,
            results,
            joblog,
            halt,
        };
        Ok((config, total))
    }
}

/// What the workers are told, but for the place of their output.
fn setup(args: &JobArgs, words: &[OsString]) -> Result<Setup, String> {
    let feed = match (args.stdin, args.null) {
        (false, _) => Feed::Arguments,
        (true, is_null) => Feed::Stdin {
            ends_line: !is_null,
        },
    };
    let mut template = Template::parse(words, args.json);
    if args.shell && template.has_quoted_place() {
        return Err(
            "--shell: what is filled in is quoted already, so it may not stand between quotes"
                .into(),
        );
    }
    if feed == Feed::Arguments {
        template = template.with_item();
    }
    let environment = args
        .env
        .iter()
        .map(variable)
        .collect::<Result<Vec<_>, _>>()?;
    let workdir = args.workdir.as_deref().map(folder).transpose()?;
    let server = args.worker.as_deref().map(split).transpose()?;
    let name = match &server {
        Some(server) => server.first().cloned(),
        None if args.shell => None,
        None => template.program(),
    };
    let program = name.map(|name| program::find(&name, &environment, workdir.as_deref()));
    Ok(Setup {
        template,
        program: program.transpose()?,
        server,
        is_shell: args.shell,
        feed,
        environment,
        workdir: workdir.map(PathBuf::into_os_string),
        spool: OsString::new(),
        grace: Duration::ZERO,
    })
}

/// What goes together.
fn check_together(args: &JobArgs, words: &[OsString], format: Format) -> Result<(), String> {
    if words.is_empty() && args.worker.is_none() {
        return Err("--: there is no COMMAND before :::".into());
    }
    if args.worker.is_some() && (args.stdin || args.shell) {
        let option = if args.stdin { "--stdin" } else { "--shell" };
        return Err(format!("{option}: a --worker gets its items as requests"));
    }
    if args.line_buffer && (format == Format::Json || args.worker.is_some()) {
        return Err(
            "--line-buffer: there are no lines to be shown early with --worker or --format json"
                .into(),
        );
    }
    Ok(())
}

/// The words of a command, as a shell splits a line.
fn split(command: &OsStr) -> Result<Vec<OsString>, String> {
    let mut words = shlex::bytes::Shlex::new(command.as_bytes());
    let split: Vec<OsString> = words.by_ref().map(OsString::from_vec).collect();
    if words.had_error || split.is_empty() {
        return Err(format!(
            "--worker {}: no command, or a quote that does not end",
            command.display()
        ));
    }
    Ok(split)
}

/// Whether the items can be read, and have what is to be filled in; and how many there are, where
/// that was seen.
fn check_items(
    source: &Source,
    separator: u8,
    json: Option<&Template>,
) -> Result<Option<u64>, String> {
    let Some(template) = json else {
        return match source {
            Source::Given(items) => Ok(Some(items.len() as u64)),
            _ => input::is_there(source).map(|_| None),
        };
    };
    input::check(source, separator, |line| check_json(template, line, source))
}

fn check_json(template: &Template, line: &Line, source: &Source) -> Result<(), String> {
    let why = match serde_json::from_slice::<serde::de::IgnoredAny>(&line.bytes) {
        // The line is one of ours.
        Err(error) => format!("it is no JSON: {error}").replace(" at line 1 column ", ", byte "),
        Ok(_) => match template.check(&line.bytes) {
            Err(why) => why,
            Ok(()) => return Ok(()),
        },
    };
    Err(format!("{}: {why}", source.place(line.number)))
}

fn variable(given: &OsString) -> Result<(OsString, OsString), String> {
    let bytes = given.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) if at > 0 => Ok((
            OsString::from_vec(bytes[..at].to_vec()),
            OsString::from_vec(bytes[at + 1..].to_vec()),
        )),
        _ => Err(format!("--env {}: expected NAME=VALUE", given.display())),
    }
}

fn folder(path: &Path) -> Result<PathBuf, String> {
    let unusable = |why: String| format!("--workdir {}: {why}", path.display());
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            std::path::absolute(path).map_err(|error| unusable(error.to_string()))
        }
        Ok(_) => Err(unusable("it is no folder".into())),
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// What is said of commands.
static WORDS: Words = Words {
    items: "jobs",
    doing: "running",
    done: "being run",
    again: "run again",
    tells_items: false,
};

/// Items that may be under way, or ended and not shown.
const UNSHOWN_MAX: usize = 1000;

/// The same where they wait for the slowest.
const UNSHOWN_MAX_IN_ORDER: usize = 100_000;

/// A run of a command.
pub(super) struct Jobs {
    config: JobConfig,
    grace: Duration,
    /// Known when the views are made.
    spool: Spool,
    budget: Budget,
}

impl Jobs {
    /// `grace`: how long a process that serves items may take to end.
    pub(super) fn new(config: JobConfig, workers: usize, grace: Duration) -> Self {
        let items_max = match config.keeps_order {
            true => UNSHOWN_MAX_IN_ORDER,
            false => UNSHOWN_MAX.max(workers * 4),
        };
        Jobs {
            config,
            grace,
            spool: Spool::at(Path::new("")),
            budget: Budget::new(items_max),
        }
    }

    fn setup(&self) -> Setup {
        Setup {
            spool: self.spool.folder().as_os_str().to_owned(),
            grace: self.grace,
            ..self.config.setup.clone()
        }
    }
}

impl Work for Jobs {
    type Item = Job;

    fn words(&self) -> &'static Words {
        &WORDS
    }

    fn is_slow(&self) -> bool {
        true
    }

    fn wants_unfinished(&self) -> bool {
        true
    }

    fn fuse(&self, origin: &Origin) -> Option<Fuse> {
        let halt = self.config.halt?;
        Some(Fuse::new(halt, origin))
    }

    fn labels(&self, config: &Config) -> Labels {
        pictures::job_labels(config)
    }

    fn views(
        &mut self,
        config: &Config,
        origin: &Origin,
        out: &Out,
    ) -> Result<Vec<Box<dyn View>>, Failure> {
        let journal = config.journal.as_ref().map(|(path, _)| path.as_path());
        let folder = scratch::create(journal, self.config.results.as_deref());
        self.spool = Spool::at(&folder.map_err(Failure::Usage)?);
        let mut views: Vec<Box<dyn View>> = Vec::new();
        let (setup, spool) = (self.setup(), self.spool.clone());
        // Before the view that removes what was shown.
        if let Some(joblog) = self.config.joblog.take() {
            let log = JobLog::new(joblog, setup.clone(), spool.clone(), origin.unix);
            views.push(Box::new(log));
        }
        let shape = Shape {
            keeps_order: self.config.keeps_order,
            is_line_buffered: self.config.is_line_buffered,
            is_tagged: self.config.is_tagged,
            format: config.format,
        };
        let results = self.config.results.as_deref();
        let results = results.map(|folder| Results::new(folder, setup));
        let returns = self.budget.returns();
        let outputs = Outputs::new(spool, shape, results, origin, (out.clone(), returns));
        views.push(Box::new(outputs));
        if self.config.setup.server.is_some() {
            let patience = Patience::new(config.max_restarts, origin.stop.clone());
            views.push(Box::new(patience));
        }
        views.push(Box::new(self.budget.returns()));
        Ok(views)
    }

    fn hire(
        &self,
        builder: Builder,
        queue: &JoinableQueue<Job>,
    ) -> Result<Supervisor<Job, ()>, Error> {
        let mut builder = builder
            .name("worker")
            .name_bodies(jobs::name_of)
            .context(&self.setup())?;
        if self.config.setup.server.is_none() {
            // Nothing writes there but we, for histories: a command's own lies in a file.
            builder = builder.hide_stderr();
        }
        if self.config.halt.is_some() {
            // What is handed out in advance would be begun before anybody can say stop.
            builder = builder.without_prefetch();
        }
        builder.handler(queue, jobs::run)
    }

    fn produce(&self, bench: &mut Bench<'_, Job>) -> Result<(), Failure> {
        let source = bench.source();
        if *source == Source::Stdin && io::stdin().is_terminal() {
            screen::say(
                "supervisor: items are read from the terminal, one a line; Ctrl-D ends them",
            );
        }
        let mut is_first = true;
        while let Some(line) = bench.next()? {
            if self.config.is_json {
                let template = &self.config.setup.template;
                check_json(template, &line, source).map_err(Failure::Usage)?;
            }
            if bench.was_put_before(&line.bytes) {
                continue;
            }
            if let Some(delay) = self.config.delay.filter(|_| !is_first)
                && !bench.stop.sleep(delay)
            {
                break;
            }
            is_first = false;
            self.budget
                .take(bench.next_id, line.bytes.len(), bench.stop);
            let job = Job {
                text: ByteBuf::from(line.bytes),
            };
            if !bench.put(&job, &job.text)? {
                break;
            }
        }
        Ok(())
    }
}

/// What is run for one item, as a line.
fn command_line(setup: &Setup, values: Values<'_>) -> Result<Vec<u8>, String> {
    let line = match (&setup.server, setup.is_shell) {
        (Some(_), _) => return request_line(values.number, &setup.words(values)?).map(Into::into),
        (None, true) => setup.template.fill_for_shell(values)?,
        (None, false) => jobs::quoted(&setup.words(values)?),
    };
    let mut line = line.into_vec();
    line.push(b'\n');
    Ok(line)
}

/// Prints the commands instead of running them. The exit code.
pub(super) fn dry_run(config: &Config, jobs: &JobConfig) -> Result<u8, Failure> {
    let stop = super::stop::Stop::new();
    let mut feed = input::Feed::open(&config.source, jobs.separator)
        .map_err(|error| Failure::Internal(format!("cannot start a thread: {error}")))?;
    let mut out = BufWriter::new(io::stdout());
    while let Some(line) = feed.next(&stop) {
        let line = line.map_err(Failure::Usage)?;
        if jobs.is_json {
            check_json(&jobs.setup.template, &line, &config.source).map_err(Failure::Usage)?;
        }
        let values = Values {
            item: &line.bytes,
            number: line.number,
            slot: (line.number - 1) % config.workers as u64 + 1,
        };
        let command = command_line(&jobs.setup, values).map_err(Failure::Usage)?;
        match out.write_all(&command) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(code::CLOSED_STDOUT);
            }
            Err(error) => {
                return Err(Failure::Usage(format!("cannot write to stdout: {error}")));
            }
        }
    }
    match out.flush() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(code::CLOSED_STDOUT),
        Err(error) => Err(Failure::Usage(format!("cannot write to stdout: {error}"))),
        Ok(()) => Ok(code::DONE),
    }
}
