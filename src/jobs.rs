//! Commands as work: an item is one run of a command, or one request to a process that serves many.
//!
//! The workers' context holds what all items of a run have in common (the command, the folder of
//! its output); an item is only its number and its text. So a run that goes on with a journal may
//! use another command. `cli` shows the output.

pub(crate) mod arguments;
mod capture;
mod child;
mod command;
pub(crate) mod digest;
pub(crate) mod ending;
mod leftovers;
pub(crate) mod numbering;
mod output;
pub(crate) mod output_log;
pub(crate) mod own;
pub(crate) mod owned;
pub(crate) mod persistent;
mod quotes;
pub(crate) mod room;
mod setback;
pub(crate) mod shell;
pub(crate) mod slots;
pub(crate) mod spool;
mod stderr;
pub(crate) mod template;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use nix::sys::memfd::{MFdFlags, memfd_create};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use self::digest::{ComparedEnd, ComparedOutput, Digest};
use crate::Jobserver;
use crate::handler::attempt::Setback;
use crate::worker::{self, Roles, current};
use command::{CommandWords, Surroundings, while_at_work};
use dishrack_core::ledger::{Cause, ItemId};
use numbering::Numbering;
use output::CommandOutput;
use own::{OwnCommand, OwnTerms};
use persistent::ServerSlot;
use quotes::{in_one_line, quoted};
use shell::Script;
use slots::SlotKind;
use spool::{CommandRun, OutputStream, Spool};
use template::{Template, UnfitItem, Values};

/// An item of a run of commands. Its number is its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// A line, or the text between two separators.
    pub(crate) text: ByteBuf,
}

/// The text in the command's place where each item is one of its own. No command line has a space in
/// its front.
pub(crate) const OWN: &str = " each item is a command of its own";

/// The number of bytes after which names are cut off.
const NAME_BYTES: usize = 4096;

/// Returns the name of a serialized job, or of the beginning of one: its text, without bytes that are
/// no text.
pub(crate) fn name_of(body: &[u8]) -> String {
    text_of(body).map_or_else(|| "no job".into(), name_of_text)
}

/// Returns the name of a serialized job that is a command of its own: the one that it was given, or
/// its words.
pub(crate) fn name_of_own(body: &[u8]) -> String {
    let Some(text) = text_of(body) else {
        return "no job".into();
    };
    match OwnCommand::read(text) {
        Ok(OwnCommand {
            name: Some(name), ..
        }) => name_of_text(name.as_bytes()),
        Ok(command) => name_of_text(in_one_line(&command.words).as_bytes()),
        // It is the beginning of a long one.
        Err(_) => name_of_text(text),
    }
}

/// Returns the key of an item with this text: the template with its places filled in. An item that lacks
/// a member has none.
pub(crate) fn key_of(text: &[u8], template: &Template) -> Option<Vec<u8>> {
    filled(text, template).ok()
}

/// Returns the priority of an item with this text.
///
/// # Errors
/// This template makes none of it; in words.
pub(crate) fn priority_of(text: &[u8], template: &Template) -> Result<i8, String> {
    let filled = filled(text, template).map_err(|why| why.to_string())?;
    let filled = String::from_utf8_lossy(&filled);
    filled.trim().parse().map_err(|_| {
        format!("its priority {filled:?} is no whole number from -128 to 127 (--priority)")
    })
}

/// Returns the time that this template makes of an item with this text, if it makes one.
pub(crate) fn time_in(text: &[u8], template: &Template) -> Option<SystemTime> {
    time_of(text, template).ok()?.and_then(at)
}

/// Returns the time that is so long after 1970.
pub(crate) fn at(since: Duration) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// Returns the time since 1970 of an item with this text; none for an empty text.
///
/// # Errors
/// This template makes none of it; in words.
pub(crate) fn time_of(text: &[u8], template: &Template) -> Result<Option<Duration>, String> {
    let filled = filled(text, template).map_err(|why| why.to_string())?;
    let filled = String::from_utf8_lossy(&filled);
    match filled.trim() {
        "" => Ok(None),
        time => moment(time).map(Some),
    }
}

/// Reads `2026-12-01T08:00:00Z`, or a number of seconds since 1970.
pub(crate) fn moment(text: &str) -> Result<Duration, String> {
    let expected = || {
        format!(
            "{text:?} is no time such as 2026-12-01T08:00:00Z, or a number of seconds since 1970"
        )
    };
    let since = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => {
            let time = text.parse::<jiff::Timestamp>();
            time.ok()
                .and_then(|time| Duration::try_from(time.as_duration()).ok())
        }
    };
    // A time beyond all clocks would be none.
    since
        .filter(|since| at(*since).is_some())
        .ok_or_else(expected)
}

/// The unique key of an item, and for how long it has that; `None`: until its end.
pub(crate) type UniqueFor = (Vec<u8>, Option<Duration>);

/// Returns the unique key of an item with this text, if it has one: the template with its places filled
/// in.
pub(crate) fn unique_of(
    text: &[u8],
    (template, time): &(Template, Option<Duration>),
) -> Option<UniqueFor> {
    let key = key_of(text, template).filter(|key| !key.is_empty())?;
    Some((key, *time))
}

/// Returns the unique key of an item that is a command of its own, if it has one.
pub(crate) fn own_unique(text: &[u8]) -> Option<UniqueFor> {
    let terms = own_terms(text);
    Some((terms.unique?.into_bytes(), terms.unique_for))
}

/// Returns when an item that is a command of its own is to be run.
pub(crate) fn own_terms(text: &[u8]) -> OwnTerms {
    OwnCommand::read(text).map_or_else(|_| OwnTerms::default(), |own| own.terms)
}

/// Returns a text with the places filled in that follow from an item.
fn filled(item: &[u8], template: &Template) -> Result<Vec<u8>, UnfitItem> {
    let values = Values {
        item,
        number: 0,
        place: 0,
        slots: (&[], 0),
    };
    let words = template.fill(values)?;
    let words = words.into_iter().map(OsStringExt::into_vec);
    Ok(words.collect::<Vec<_>>().join(&b' '))
}

/// Returns the text of a serialized job, as far as it is there.
fn text_of(body: &[u8]) -> Option<&[u8]> {
    let (length, rest) = postcard::take_from_bytes::<u64>(body).ok()?;
    let length = usize::try_from(length).ok()?;
    Some(&rest[..length.min(rest.len())])
}

/// Returns the name of an item with this text.
pub(crate) fn name_of_text(text: &[u8]) -> String {
    let shown = &text[..text.len().min(NAME_BYTES)];
    let mut name = String::from_utf8_lossy(shown).into_owned();
    if shown.len() < text.len() {
        name.push('…');
    }
    name
}

/// The way in which a command gets its item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ItemInput {
    /// In its arguments.
    Arguments,
    /// On its stdin, with a newline after it or as it is.
    Stdin { ends_line: bool },
}

/// The properties that all jobs of a run have in common.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) template: Template,
    /// The path of the command's program, if it is the same for all.
    pub(crate) program: Option<OsString>,
    /// The words of a process that serves many items. The template then makes its requests.
    pub(crate) server: Option<Vec<OsString>>,
    /// The script for a shell, if one was asked for: the template with its places in quotes.
    pub(crate) script: Option<Script>,
    pub(crate) feed: ItemInput,
    /// The places of items in the input.
    pub(crate) numbering: Numbering,
    /// True if each item is a command of its own, as `own` reads it; then there is no template.
    pub(crate) is_own: bool,
    /// True if an attempt's files are on the disk before its command is begun.
    pub(crate) is_begin_synced: bool,
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// The variables that name make's job server by descriptors, if workers have its pipe and commands
    /// get it.
    pub(crate) jobserver: Vec<(OsString, OsString)>,
    pub(crate) workdir: Option<OsString>,
    pub(crate) spool: Spool,
    /// True if what copies of an item print is compared.
    pub(crate) is_compared: bool,
    /// The things of which each command that runs has one for itself.
    pub(crate) slots: Vec<SlotKind>,
    /// The time that a serving process may take to end.
    pub(crate) grace: Duration,
}

impl Setup {
    /// Returns the words of the command for one item.
    pub(crate) fn words(&self, values: Values<'_>) -> Result<Vec<OsString>, UnfitItem> {
        match &self.script {
            Some(script) => script.words(values),
            None => self.template.fill(values),
        }
    }

    /// Returns a command line for a shell that does the same.
    pub(crate) fn line(&self, values: Values<'_>) -> Result<Vec<u8>, UnfitItem> {
        let filled = self.script.as_ref();
        let filled = filled.map(|script| script.filled(values)).transpose()?;
        match filled.flatten() {
            Some(line) => Ok(line),
            None => Ok(quoted(&self.words(values)?)),
        }
    }

    /// Returns what is run in one line, with the places of the items as they were written.
    pub(crate) fn source(&self) -> String {
        if self.is_own {
            return OWN.to_owned();
        }
        let server = self.server.clone().unwrap_or_default();
        in_one_line(&[server, self.template.source()].concat())
    }

    /// Returns what is run for one item, for people: one line for a shell, or the words with their
    /// places if the item is not complete.
    pub(crate) fn shown(&self, values: Values<'_>) -> String {
        let filled = self.script.as_ref();
        let filled = filled.and_then(|script| script.filled(values).ok().flatten());
        let line = filled.and_then(|line| String::from_utf8(line).ok());
        if let Some(line) = line.filter(|line| !line.contains(char::is_control)) {
            return line;
        }
        // An item that is not complete cannot be filled in.
        let words = self
            .words(values)
            .unwrap_or_else(|_| self.template.source());
        in_one_line(&[self.server.clone().unwrap_or_default(), words].concat())
    }
}

/// Serves commands. The first call of `main` calls this.
pub(crate) fn serve(roles: &mut Roles) {
    roles.handler_between(|| {}, run, end);
}

static POST: Mutex<Option<ServerSlot>> = Mutex::new(None);

/// Ends the work of a worker that has no more items.
fn end() {
    let setup = setup();
    if let Some(setup) = setup {
        capture::end(&setup.spool);
    }
    let mut post = POST.lock();
    if let Some(post) = &mut *post {
        let grace = setup.map_or(Duration::ZERO, |setup| setup.grace);
        while_at_work(|| post.close(grace));
    }
}

/// The attempt that this worker makes at present.
#[derive(Debug, Clone, Copy)]
struct CurrentAttempt {
    id: ItemId,
    attempt: u32,
    copy: u16,
    /// The worker's place.
    place: u64,
    /// The number of the slot that it was lent; 0 for none.
    slot: u16,
}

impl CurrentAttempt {
    fn current() -> Option<Self> {
        let (id, attempt, (copy, slot)) = current::delivery()?;
        let place = current::place()?;
        Some(CurrentAttempt {
            id,
            attempt,
            copy,
            place,
            slot,
        })
    }

    fn run(self) -> CommandRun {
        CommandRun {
            id: self.id,
            attempt: self.attempt,
            pid: std::process::id(),
        }
    }

    /// Returns the variables that a command gets in its environment.
    fn environment(self, setup: &Setup) -> [(&'static str, u64); 4] {
        [
            ("SUPERVISOR_ITEM", setup.numbering.place_of(self.id)),
            ("SUPERVISOR_ATTEMPT", u64::from(self.attempt)),
            ("SUPERVISOR_COPY", u64::from(self.copy)),
            ("SUPERVISOR_SLOT", self.place),
        ]
    }

    fn values<'a>(self, setup: &'a Setup, item: &'a [u8]) -> Values<'a> {
        Values {
            item,
            number: setup.numbering.place_of(self.id),
            place: self.place,
            slots: (&setup.slots, self.slot),
        }
    }
}

/// Returns the setup that this worker process was given.
fn setup() -> Option<&'static Setup> {
    static SETUP: OnceLock<Option<Setup>> = OnceLock::new();
    SETUP.get_or_init(worker::context).as_ref()
}

/// Runs the command for one item, in a worker process. The error says how it ended.
pub(crate) fn run(job: Job) -> Result<ComparedOutput, Setback> {
    let (Some(setup), Some(attempt)) = (setup(), CurrentAttempt::current()) else {
        let why = "this worker was not told which command to run";
        return Err(Setback::Failed(Cause::Nack(why.into())));
    };
    if setup.is_own {
        let command = OwnCommand::read(&job.text).map_err(setback::final_)?;
        describe(&in_one_line(&command.words));
        return run_own(setup, attempt, &command);
    }
    describe(&name_of_text(&job.text));
    match &setup.server {
        None => run_command(setup, attempt, &job.text),
        Some(server) => serve_item(setup, server, attempt, &job.text),
    }
}

/// Shows what this worker runs.
fn describe(name: &str) {
    worker::describe(format_args!("running {}", name.escape_debug()));
}

impl Setup {
    fn surroundings(
        &self,
        given: impl IntoIterator<Item = (&'static str, u64)>,
        slot: u16,
    ) -> Surroundings<'_> {
        let given = given
            .into_iter()
            .map(|(name, value)| (OsStr::new(name), value.to_string().into()));
        let slots = self.slots.iter().filter(|_| slot > 0).flat_map(|kind| {
            let value = OsStr::new(kind.value(slot));
            let told = kind.variables();
            told.map(move |name| (OsStr::new(name), value.to_owned()))
        });
        let given = given.chain(slots);
        let inherited = inherited_jobserver(&self.jobserver).iter();
        let asked_for = inherited.chain(&self.environment);
        let asked_for = asked_for.map(|(name, value)| (name.as_os_str(), value.clone()));
        Surroundings {
            environment: given.chain(asked_for).collect(),
            workdir: self.workdir.as_deref().map(Path::new),
            is_own_workdir: false,
        }
    }
}

/// Returns the variables that name make's job server by the descriptors that it has in this worker, and
/// in whatever it executes from now on.
fn inherited_jobserver(variables: &[(OsString, OsString)]) -> &'static [(OsString, OsString)] {
    static INHERITED: OnceLock<Vec<(OsString, OsString)>> = OnceLock::new();
    let inherit = || {
        let [Some(read), Some(write)] = [0, 1].map(worker::take_context_file) else {
            return Vec::new();
        };
        for end in [&read, &write] {
            // Without it a make in a command says that it has no server, and runs one job at a time.
            let _ = rustix::io::fcntl_setfd(end, rustix::io::FdFlags::empty());
        }
        let numbers = [read.into_raw_fd(), write.into_raw_fd()];
        let variables = variables.iter();
        variables
            .map(|(name, flags)| (name.clone(), Jobserver::renumbered(flags, numbers)))
            .collect()
    };
    INHERITED.get_or_init(inherit)
}

/// Lets this worker's own process serve an item.
fn serve_item(
    setup: &Setup,
    server: &[OsString],
    attempt: CurrentAttempt,
    item: &[u8],
) -> Result<ComparedOutput, Setback> {
    let arguments = setup
        .words(attempt.values(setup, item))
        .map_err(setback::final_)?;
    let words = CommandWords {
        program: setup.program.as_deref(),
        words: server,
    };
    // The process stays, and what it has for itself is another thing for each item.
    let surroundings = setup.surroundings([("SUPERVISOR_SLOT", attempt.place)], 0);
    let mut post = POST.lock();
    let post = post.get_or_insert_default();
    let served = while_at_work(|| post.serve(&words, &surroundings, &arguments))?;
    let (exit, output) = (served.exit, served.output);
    if !output.is_empty() {
        // The output of a failed request is a complaint.
        let stream = match exit.is_success() {
            true => OutputStream::Stdout,
            false => OutputStream::Stderr,
        };
        output::keep(&setup.spool, attempt, stream, output.as_bytes())?;
    }
    let result = match exit.is_success() {
        true => Ok(()),
        false => Err(Setback::Failed(ending::with_complaint(exit, &output))),
    };
    let stdout = setup.is_compared.then(|| Digest::of(output.as_bytes()));
    compared(result, stdout)
}

/// Makes the result of a command. Where copies are compared, a failure of its own is a result, too:
/// it is compared with what others have printed and how they failed.
fn compared(
    result: Result<(), Setback>,
    stdout: Option<Digest>,
) -> Result<ComparedOutput, Setback> {
    let (failure, stdout) = match (result, stdout) {
        (Ok(()), stdout) => (None, stdout),
        (Err(Setback::Failed(cause)), Some(stdout)) if cause.is_of_a_command() => {
            (Some(cause), Some(stdout))
        }
        (Err(setback), _) => return Err(setback),
    };
    let end = stdout.map(|stdout| ComparedEnd { stdout, failure });
    Ok(ComparedOutput(end))
}

fn run_command(
    setup: &Setup,
    attempt: CurrentAttempt,
    item: &[u8],
) -> Result<ComparedOutput, Setback> {
    let words = setup
        .words(attempt.values(setup, item))
        .map_err(setback::final_)?;
    let words = CommandWords {
        program: setup.program.as_deref(),
        words: &words,
    };
    let surroundings = setup.surroundings(attempt.environment(setup), attempt.slot);
    execute(setup, attempt, &words, &surroundings, (setup.feed, item))
}

/// Runs the command that an item is.
fn run_own(
    setup: &Setup,
    attempt: CurrentAttempt,
    command: &OwnCommand,
) -> Result<ComparedOutput, Setback> {
    let words = CommandWords {
        program: None,
        words: &command.words,
    };
    let mut surroundings = setup.surroundings(attempt.environment(setup), attempt.slot);
    let own = command.environment.iter();
    let own = own.map(|(name, value)| (name.as_os_str(), value.clone()));
    surroundings.environment.extend(own);
    if let Some(folder) = &command.workdir {
        surroundings.workdir = Some(Path::new(folder));
        surroundings.is_own_workdir = true;
    }
    execute(
        setup,
        attempt,
        &words,
        &surroundings,
        (ItemInput::Arguments, &[]),
    )
}

/// Executes a command, and keeps its output.
fn execute(
    setup: &Setup,
    attempt: CurrentAttempt,
    words: &CommandWords<'_>,
    surroundings: &Surroundings<'_>,
    (feed, item): (ItemInput, &[u8]),
) -> Result<ComparedOutput, Setback> {
    let input = stdin_of(feed, item)
        .map_err(|error| setback::of_machine("no stdin for a command", &error))?;
    let output = CommandOutput::create(&setup.spool, attempt)?;
    if setup.is_begin_synced {
        // Whoever finds the files knows that the command may have been begun.
        setup
            .spool
            .sync()
            .map_err(|error| setback::of_machine("its files cannot be kept", &error))?;
    }
    // A worker that is asked to end meanwhile first finishes with the output.
    while_at_work(|| {
        let memory = setback::MemoryWatch::begin();
        let [stdout, stderr] = &output.files;
        let streams = [input.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let result = match command::run(words, surroundings, streams) {
            Ok(exit) => {
                let result = setback::of_exit(exit, &memory);
                surroundings.end_leftovers_of(exit);
                result
            }
            Err(error) => Err(setback::of_start(words, surroundings, &error)),
        };
        if matches!(result, Err(Setback::Short(_))) {
            output.discard();
            return compared(result, None);
        }
        let digest = match setup.is_compared {
            true => Some(Digest::of_file(stdout).map_err(|error| {
                setback::of_machine("the output of a command cannot be read again", &error)
            })?),
            false => None,
        };
        output.close(result.is_err())?;
        compared(result, digest)
    })
}

/// Opens the command's stdin: nothing, or the item in a file of its own.
fn stdin_of(feed: ItemInput, item: &[u8]) -> io::Result<File> {
    let ItemInput::Stdin { ends_line } = feed else {
        return File::open("/dev/null");
    };
    let mut file = File::from(memfd_create("item", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(item)?;
    if ends_line {
        file.write_all(b"\n")?;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}
