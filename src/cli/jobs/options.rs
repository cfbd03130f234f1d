//! The meaning of the options for a COMMAND together, checked before anything runs.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::item_texts::{ItemCheck, ItemTexts};
use super::{joblog, program, results};
use crate::Supervisor;
use crate::cli::args::{ArgumentArgs, Format, JobArgs, LimitArgs};
use crate::cli::gathering::{Gathering, LotSize};
use crate::cli::halt::Halt;
use crate::cli::input::{self, ItemSource};
use crate::cli::{lists, screen};
use crate::jobs::arguments::ItemsOfCommand;
use crate::jobs::numbering::Numbering;
use crate::jobs::shell::Script;
use crate::jobs::slots::SlotKind;
use crate::jobs::spool::Spool;
use crate::jobs::template::{Places, Template, unknown};
use crate::jobs::{ItemInput, Setup};

/// The word in front of items on the command line.
pub(in crate::cli) const GIVEN: &[u8] = b":::";

#[derive(Debug)]
pub(in crate::cli) struct JobConfig {
    pub(super) setup: Setup,
    pub(super) is_json: bool,
    /// True if an item is as many lines as a command is given.
    pub(super) are_lots: bool,
    /// True if the run goes on from a job log.
    pub(super) is_continued: bool,
    /// True if a later run may go on from the job log by the numbers of lines.
    pub(super) has_lines_in_joblog: bool,
    pub(in crate::cli) is_dry_run: bool,
    pub(in crate::cli) delay: Option<Duration>,
    pub(super) keeps_order: bool,
    pub(super) is_line_buffered: bool,
    pub(super) is_tagged: bool,
    pub(super) results: Option<results::ResultsFolder>,
    pub(super) joblog: Option<joblog::JoblogFile>,
    pub(super) halt: Option<Halt>,
    pub(super) texts: ItemTexts,
}

impl JobConfig {
    /// Returns the configuration and the number of items, if it is known.
    pub(in crate::cli) fn validate(
        (args, arguments, limits): (&JobArgs, &ArgumentArgs, &LimitArgs),
        source: &ItemSource,
        format: Format,
        is_resumable: bool,
        taken: &mut Vec<PathBuf>,
    ) -> Result<(Self, Option<u64>), String> {
        let words = lists::command_of(&args.command);
        check_together(args, words, format)?;
        if !args.dry_run {
            // Folders are marked by way of /proc.
            Supervisor::check_system().map_err(|lacking| lacking.to_string())?;
        }
        let are_combined = matches!(source, ItemSource::Combined(_));
        let places = arguments.places(args.json, are_combined);
        if let Some(advice) = unknown::advice(words, &places) {
            screen::complain(&advice);
        }
        let mut setup = setup(args, words, &places)?;
        setup.slots = slots(limits, &setup.template)?;
        let texts = ItemTexts::read(limits, &places)?;
        let separator = arguments.separator(args.null);
        let are_lots = arguments.lot_size().is_some();
        let check = ItemCheck::new(&setup.template, &texts, args.json, are_lots);
        // An argument of a lot is no item.
        let is_seen = check.is_of_each_item() && !are_lots;
        let total = match is_seen {
            true => input::check(source, separator, |line| check.line(line, source))?,
            false => count_items(source)?,
        };
        let halt = args.halt.as_deref().filter(|halt| *halt != "never");
        let halt = halt.map(Halt::parse).transpose()?;
        // A dry run writes nothing.
        let results = args.results.as_deref().filter(|_| !args.dry_run);
        let results = results
            .map(|folder| results::prepare(folder, taken))
            .transpose()?;
        let is_continued = args.resume || args.resume_failed;
        let joblog = args.joblog.as_deref().map(joblog::place);
        if let Some((path, _)) = joblog.filter(|_| is_continued) {
            let ended = joblog::ended(path, args.resume_failed)?;
            setup.numbering = Numbering::without(&ended);
        }
        let open = |(path, is_added): (&Path, bool)| {
            joblog::open(path, is_resumable || is_continued || is_added, taken)
        };
        let joblog = joblog.filter(|_| !args.dry_run).map(open).transpose()?;
        let config = JobConfig {
            setup,
            is_json: args.json,
            are_lots,
            is_continued,
            has_lines_in_joblog: joblog.is_some() && !is_resumable,
            is_dry_run: args.dry_run,
            delay: args.delay,
            keeps_order: args.keep_order,
            is_line_buffered: args.line_buffer,
            is_tagged: args.tag,
            results,
            joblog,
            halt,
            texts,
        };
        Ok((config, total))
    }

    /// Returns the properties that each item must have.
    pub(super) fn check(&self) -> ItemCheck {
        ItemCheck::new(
            &self.setup.template,
            &self.texts,
            self.is_json,
            self.are_lots,
        )
    }
}

impl JobConfig {
    /// Returns the rules by which so many items of this source are given to one COMMAND.
    pub(in crate::cli) fn gathering(
        &self,
        size: LotSize,
        workers: usize,
        source: &ItemSource,
    ) -> Gathering {
        let are_words = matches!(source, ItemSource::Combined(_));
        Gathering::new(size, workers, are_words, &self.setup)
    }

    /// Returns the configuration for items that are commands of their own. `is_begin_synced` says that
    /// no power failure makes a command that was begun look as if it was not.
    pub(in crate::cli) fn of_commands(
        is_begin_synced: bool,
        limits: &LimitArgs,
    ) -> Result<Self, String> {
        Supervisor::check_system().map_err(|lacking| lacking.to_string())?;
        let template = Template::parse(&[], false);
        let places = Places {
            is_json: true,
            ..Places::default()
        };
        let setup = Setup {
            slots: slots(limits, &template)?,
            template,
            program: None,
            server: None,
            script: None,
            feed: ItemInput::Arguments,
            numbering: Numbering::default(),
            is_own: true,
            is_begin_synced,
            environment: Vec::new(),
            jobserver: Vec::new(),
            workdir: None,
            spool: Spool::default(),
            is_compared: false,
            grace: Duration::ZERO,
        };
        Ok(JobConfig {
            setup,
            is_json: false,
            are_lots: false,
            is_continued: false,
            has_lines_in_joblog: false,
            is_dry_run: false,
            delay: None,
            keeps_order: false,
            is_line_buffered: false,
            is_tagged: false,
            results: None,
            joblog: None,
            halt: None,
            texts: ItemTexts::read(limits, &places)?,
        })
    }
}

/// Checks the slots together, and with the command's places.
fn slots(limits: &LimitArgs, template: &Template) -> Result<Vec<SlotKind>, String> {
    let kinds = &limits.slot;
    for (at, kind) in kinds.iter().enumerate() {
        let is_same = |other: &SlotKind| other.variable == kind.variable;
        if kinds[..at].iter().any(is_same) {
            return Err(format!("--slot {}: it is there twice", kind.name));
        }
    }
    let is_unknown = |name: &&str| kinds.iter().all(|kind| kind.name != *name);
    match template.slots().find(is_unknown) {
        Some(name) => Err(format!(
            "{{slot:{name}}}: no --slot {name}=... says what there is"
        )),
        None => Ok(kinds.clone()),
    }
}

/// Makes the setup of the workers, without the place of their output.
fn setup(args: &JobArgs, words: &[OsString], places: &Places) -> Result<Setup, String> {
    let feed = match (args.stdin, args.null) {
        (false, _) => ItemInput::Arguments,
        (true, is_null) => ItemInput::Stdin {
            ends_line: !is_null,
        },
    };
    let mut template = Template::parse_places(words, places);
    let read = match feed {
        ItemInput::Arguments if places.form.items != ItemsOfCommand::None => Script::read_with_item,
        ItemInput::Arguments | ItemInput::Stdin { .. } => Script::read,
    };
    let script = args.shell.then(|| read(&template)).transpose()?;
    if feed == ItemInput::Arguments {
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
        script,
        feed,
        numbering: Numbering::default(),
        is_own: false,
        is_begin_synced: false,
        environment,
        jobserver: Vec::new(),
        workdir: workdir.map(PathBuf::into_os_string),
        spool: Spool::default(),
        is_compared: false,
        slots: Vec::new(),
        grace: Duration::ZERO,
    })
}

/// Checks whether the options go together.
fn check_together(args: &JobArgs, words: &[OsString], format: Format) -> Result<(), String> {
    if words.is_empty() && args.worker.is_none() {
        return Err("--: there is no COMMAND before :::".into());
    }
    if args.line_buffer && (format == Format::Json || args.worker.is_some()) {
        return Err(
            "--line-buffer: there are no lines to be shown early with --worker or --format json"
                .into(),
        );
    }
    Ok(())
}

/// Splits a command into words, as a shell splits a line.
fn split(command: &OsStr) -> Result<Vec<OsString>, String> {
    let is_number = !command.is_empty() && command.as_bytes().iter().all(u8::is_ascii_digit);
    if is_number {
        let number = command.display();
        return Err(format!(
            "--worker {number}: it takes a COMMAND that serves items; the number of workers is \
             --workers {number}"
        ));
    }
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

/// Checks that the items can be read. Returns their number, if it is known without.
fn count_items(source: &ItemSource) -> Result<Option<u64>, String> {
    match source {
        ItemSource::Given(_) | ItemSource::Combined(_) => Ok(source.count()),
        _ => input::is_there(source).map(|_| None),
    }
}

fn variable(given: &OsString) -> Result<(OsString, OsString), String> {
    let bytes = given.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) if at > 0 => Ok((
            OsString::from_vec(bytes[..at].to_vec()),
            OsString::from_vec(bytes[at + 1..].to_vec()),
        )),
        None if !bytes.is_empty() => Err(format!(
            "--env {}: expected NAME=VALUE; the variables that there are, a COMMAND has anyway",
            given.display()
        )),
        _ => Err(format!("--env {}: expected NAME=VALUE", given.display())),
    }
}

/// Returns the path from the root of a folder that can be entered.
pub(in crate::cli) fn folder(path: &Path) -> Result<PathBuf, String> {
    let unusable = |why: String| format!("--workdir {}: {why}", path.display());
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            rustix::fs::access(path, rustix::fs::Access::EXEC_OK)
                .map_err(|errno| unusable(format!("it cannot be entered: {errno}")))?;
            std::path::absolute(path).map_err(|error| unusable(error.to_string()))
        }
        Ok(_) => Err(unusable("it is no folder".into())),
        Err(error) => Err(unusable(error.to_string())),
    }
}
