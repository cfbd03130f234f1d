//! `supervisor add`: adds a command to a served queue, and starts the process that serves it if that
//! is asked for.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use clap::Args;
use hyper::Method;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::advice::is_script;
use super::args::{AtArgs, Format, SERVED, duration};
use super::asking::{connect, number, print};
use super::exit_codes::{RunError, code};
use super::orders::await_end;
use super::{detached_log, jobs, make, screen, serving, state};
use crate::control::client::{Client, NoAnswer};
use crate::control::runs;
use crate::jobs::moment;
use crate::jobs::own::{OwnCommand, OwnTerms};
use crate::sys::inherited;

/// The help for the run that it is added to.
const AT_HELP: &str =
    "The queue: its name, its socket's path, or its process [default: serve, or the only one]";

#[derive(Debug, Args)]
#[command(after_help = "\
The number of the item is printed when it is durable: it survives a kill of the queue, and a power
failure. The command runs with the words and in the folder that it is added with, and in the
environment of the process that serves the queue, but for --env.

Examples:
  supervisor add --start -- ffmpeg -i a.mov a.webm
      adds a command to the queue named serve, and starts that if it is not there
  supervisor add --key nightly-7 --env LANG=C -- ./job 7
      the same command once, however often this is repeated, with a variable set
  supervisor add --unique reindex -- ./reindex
      adds nothing while an earlier one waits or runs, and prints the number of that
  supervisor add --after $(supervisor add -- ./build) -- ./deploy
      the second command begins when the first one is done, and never if that fails
  supervisor wait $(supervisor add -- make) && echo made
      waits for its end, with its own exit code; `supervisor logs -f ITEM` follows it",
    mut_arg("at", |at| at.help(AT_HELP)))]
pub(super) struct Add {
    /// A name for people, in place of the words
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    /// Set this variable for the command, or with a NAME alone give it the value that it has here;
    /// may be given more than once
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<OsString>,

    /// Run the command in this folder [default: this one]
    #[arg(long, value_name = "DIR")]
    workdir: Option<PathBuf>,

    /// Run it before others with a smaller number: -128 to 127 [default: 0]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    priority: Option<i8>,

    /// Do not begin it before this time, such as 2026-12-01T08:00:00Z, or so long after now, such as 2h
    #[arg(long, value_name = "TIME|DUR", value_parser = when)]
    not_before: Option<Duration>,

    /// Give it up if it has not begun by this time, in the same form
    #[arg(long, value_name = "TIME|DUR", value_parser = when)]
    deadline: Option<Duration>,

    /// Begin it when these items are done; if one of them is given up, so is this
    #[arg(long, value_name = "ITEM[,ITEM]...", value_delimiter = ',', value_parser = item_number)]
    after: Vec<u64>,

    /// Do not add it while another command with this key has no end: this prints the number of that one
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,

    /// Do not add it for so long after the other one was added, such as 1h, done or not, and no longer
    #[arg(long, value_name = "DUR", requires = "unique", value_parser = duration)]
    unique_for: Option<Duration>,

    /// Add it once: repeated with the same key, this prints the number of the same item
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Start the process that serves the queue, if there is none; it stays
    #[arg(long)]
    start: bool,

    #[command(flatten)]
    run: AtArgs,

    /// The form of the output: the item's number, or a JSON object
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    /// The command
    #[arg(last = true, value_name = "COMMAND", required = true)]
    command: Vec<OsString>,
}

/// Adds the command and returns the exit code.
pub(super) fn run(command: &Add) -> Result<u8, RunError> {
    let own = own_command(command).map_err(RunError::Usage)?;
    if let Some(key) = &command.key {
        check_key(key).map_err(RunError::Usage)?;
    }
    let mut client = server(command)?;
    let target = "/v1/items?form=command";
    let answer = client.ask(Method::POST, target, command.key.as_deref(), own.line());
    let answer = answer.map_err(|why| match why {
        NoAnswer::Lost { .. } if command.key.is_none() => RunError::Usage(format!(
            "{why}; it may have been added: with --key it could be tried again"
        )),
        why if why.is("no_commands") => RunError::Usage(without_commands(command, &why)),
        why => why.into(),
    })?;
    let stands_for_it = answer["duplicates"][0]["of"].as_u64();
    if let Some(of) = stands_for_it {
        screen::complain(&format_args!(
            "it was not added: it is a duplicate of item {of}"
        ));
    }
    let item = stands_for_it.unwrap_or_else(|| number(&answer["items"][0]["first"]));
    let mut answer = serde_json::json!({"number": item});
    if stands_for_it.is_some() {
        answer["duplicate"] = true.into();
    }
    print(command.format, &answer, |_| format!("{item}\n"))?;
    Ok(code::DONE)
}

/// Says what to do where items are no commands: `why`, and the options that only a command has.
fn without_commands(command: &Add, why: &NoAnswer) -> String {
    let typed = [
        ("--name", command.name.is_some()),
        ("--env", !command.env.is_empty()),
        ("--workdir", command.workdir.is_some()),
        ("--priority", command.priority.is_some()),
        ("--not-before", command.not_before.is_some()),
        ("--deadline", command.deadline.is_some()),
        ("--after", !command.after.is_empty()),
        ("--unique", command.unique.is_some()),
        ("--unique-for", command.unique_for.is_some()),
        ("--key", command.key.is_some()),
    ];
    let typed = typed.into_iter().filter(|(_, is_typed)| *is_typed);
    let typed: Vec<&str> = typed.map(|(option, _)| option).collect();
    let (add, of_these) = match &typed[..] {
        [] => ("add".to_owned(), String::new()),
        typed => (typed.join(", "), format!(" with {}", typed.join(", "))),
    };
    format!(
        "{add}: {why}. `supervisor put ::: ITEM` gives it one; a queue for commands{of_these} is one that \
         `supervisor serve` serves without a COMMAND"
    )
}

fn own_command(command: &Add) -> Result<OwnCommand, String> {
    let workdir = match &command.workdir {
        Some(folder) => jobs::folder(folder)?,
        None => env::current_dir().map_err(|error| format!("the working directory: {error}"))?,
    };
    check_program(&command.command, Path::new(&workdir))?;
    let environment = command.env.iter().map(|entry| variable(entry));
    let own = OwnCommand {
        words: command.command.clone(),
        workdir: Some(workdir.into_os_string()),
        environment: environment.collect::<Result<_, _>>()?,
        name: command.name.clone(),
        terms: OwnTerms {
            priority: command.priority.unwrap_or_default(),
            not_before: command.not_before,
            deadline: command.deadline,
            after: command.after.clone(),
            unique: command.unique.clone(),
            unique_for: command.unique_for,
        },
    };
    // What the queue would refuse is refused before it is started.
    OwnCommand::read(own.line().as_bytes()).map_err(|why| why.to_string())
}

/// Refuses a whole script in one word, of which there is no program: the command would be added, and fail.
fn check_program(words: &[OsString], workdir: &Path) -> Result<(), String> {
    let [name] = words else {
        return Ok(());
    };
    match name.to_str().filter(|name| is_script(name)) {
        Some(script) if !workdir.join(name).exists() => Err(format!(
            "{script}: it is one word, and no program: leave out the quotes, or have a shell run it, as in: \
             supervisor add -- sh -c '...'"
        )),
        _ => Ok(()),
    }
}

fn item_number(text: &str) -> Result<u64, String> {
    let number = text.parse().ok();
    number.ok_or_else(|| "expected the number of an item, as `supervisor add` prints it".into())
}

/// Reads a time, or how long after now it is. Returns it since 1970.
fn when(text: &str) -> Result<Duration, String> {
    if let Ok(time) = moment(text)
        && text.parse::<f64>().is_err()
    {
        return Ok(time);
    }
    let after = duration(text).map_err(|_| {
        "expected a time such as 2026-12-01T08:00:00Z, or a time from now such as 2h".to_owned()
    })?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Ok(now.unwrap_or_default() + after)
}

/// Reads `NAME=VALUE`, or `NAME` with the value that it has here.
fn variable(entry: &OsStr) -> Result<(OsString, OsString), String> {
    let bytes = entry.as_bytes();
    let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(0) => Err(format!("--env {}: it has no name", entry.display())),
        Some(at) => Ok((text(&bytes[..at]), text(&bytes[at + 1..]))),
        None => match env::var_os(entry) {
            Some(value) => Ok((entry.to_owned(), value)),
            None => Err(format!("--env {}: it is not set here", entry.display())),
        },
    }
}

fn check_key(key: &str) -> Result<(), String> {
    let is_letter = |c: char| c.is_ascii_graphic() || c == ' ';
    match (1..=255).contains(&key.len()) && key.chars().all(is_letter) && key.trim() == key {
        true => Ok(()),
        false => Err(format!("--key {key:?}: 1 to 255 letters of ASCII")),
    }
}

/// Connects to the process that serves the queue.
fn server(command: &Add) -> Result<Client, RunError> {
    let at = command.run.at.clone();
    let served = || Some(OsString::from(SERVED));
    // A queue of the usual name comes before others.
    let at = at.or_else(|| served().filter(|at| runs::find(Some(at)).is_ok()));
    let run = AtArgs { at: at.clone() };
    if !command.start {
        return connect(&run).map_err(|why| match why {
            RunError::Usage(why) => RunError::Usage(format!(
                "{why}; `add --start` starts a queue named {SERVED}, and `supervisor serve` one with \
                 other options"
            )),
            why => why,
        });
    }
    let at = at.or_else(served).unwrap_or_default();
    let run = AtArgs {
        at: Some(at.clone()),
    };
    if let Ok(client) = connect(&run) {
        return Ok(client);
    }
    let name = at.to_str().unwrap_or_default();
    match start(name) {
        Ok(()) => connect(&run),
        // Another one may have started it meanwhile.
        Err(why) => connect(&run).map_err(|_| RunError::Usage(why)),
    }
}

/// Starts a process that serves a queue of this name, and waits until it can be asked.
fn start(name: &str) -> Result<(), String> {
    let log = state::log_of(name)?;
    let failed = |error: io::Error| format!("the queue {name} cannot be started: {error}");
    let stderr = detached_log::open(&log);
    let stderr = stderr.map_err(|error| format!("{}: {error}", log.display()))?;
    let (reader, writer) = io::pipe().map_err(failed)?;
    let began = stderr.metadata().map_err(failed)?.len();
    let mut server = Command::new(env::current_exe().map_err(failed)?);
    server
        .args(["serve", "--in-a-session-of-its-own", "--name", name])
        .current_dir("/")
        // What this process may be of is no concern of a server that outlives it.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(stderr);
    // A lock of the caller's would be held as long as the server lives, and a make would wait for its end.
    inherited::keep_from_programs();
    for name in make::variables() {
        server.env_remove(name);
    }
    let started = server.spawn().map_err(failed)?;
    let process = pidfd_open(Pid::from_child(&started), PidfdFlags::empty());
    // Its copies of the pipe's end go with it.
    drop(server);
    let mut told = Vec::new();
    let _ = BufReader::new(reader).read_until(b'\n', &mut told);
    if told == serving::READY {
        return Ok(());
    }
    // It says why before it has ended.
    if let Ok(process) = process {
        await_end(&process);
    }
    Err(format!(
        "the queue {name} cannot be started: {}",
        said_since(&log, began)
    ))
}

/// Returns the last line of a log from this place on, or where to look.
fn said_since(log: &Path, began: u64) -> String {
    let text = fs::read(log).unwrap_or_default();
    let new = text.get(usize::try_from(began).unwrap_or(0)..);
    let new = String::from_utf8_lossy(new.unwrap_or_default()).into_owned();
    match new.lines().rfind(|line| !line.trim().is_empty()) {
        Some(line) => line.to_owned(),
        None => format!("see {}", log.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_given_or_taken_from_here() {
        let read = |entry: &str| variable(OsStr::new(entry));
        assert_eq!(read("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(read("A="), Ok(("A".into(), "".into())));
        let path = env::var_os("PATH").unwrap();
        assert_eq!(read("PATH"), Ok(("PATH".into(), path)));
        assert!(read("=a").is_err());
        assert!(
            read("NO_SUCH_VARIABLE")
                .unwrap_err()
                .contains("not set here")
        );
    }
}
