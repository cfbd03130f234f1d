//! The page for browsers: of this process's own run, and `supervisor web`, which serves that of another
//! run or of a stream. It knows the tokens, and not what the page shows.

mod stream;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use nix::sys::signal::Signal;
use signal_hook::iterator::Signals;

use super::args::{AtArgs, Choice, TargetArgs, WebAccessArgs, WebArgs, web_address};
use super::asking;
use super::exit_codes::{RunError, code};
use super::screen;
use crate::control::client::Client;
use crate::control::runs;
use crate::web::random_token;
use crate::{WEB_ADDRESS, Web, WebOptions};

/// The shortest token. One that is made has 64 letters.
const TOKEN_MIN: usize = 16;

/// The word before the token of those who may only look.
const READ_ONLY: &str = "read-only ";

#[derive(Debug, Args)]
#[command(after_help = "\
The page is served until Ctrl-C. It shows how the run stands, and by it the run can be paused, scaled
and stopped, items cancelled, dead letters tried again or dropped. /metrics has the numbers for
Prometheus, /health says that it is there.

Examples:
  supervisor web
      http://127.0.0.1:8765/ shows the only run, to whoever uses this machine
  supervisor web --redis redis://db1 --stream jobs
      the stream with all supervisors that work on it; pause, scale, stop are about all of these
  supervisor web 0.0.0.0:8080 --web-token-file ~/.config/supervisor.token
      others can look, who have the token")]
pub(super) struct ServeWeb {
    /// The address: HOST:PORT, or a part of it
    #[arg(value_name = "ADDR", default_value = WEB_ADDRESS, value_parser = web_address)]
    address: String,

    #[command(flatten)]
    target: TargetArgs,

    #[command(flatten)]
    access: WebAccessArgs,
}

/// Serves the page of another run, or of a stream, until a signal comes, and returns the exit code.
pub(super) fn run(command: &ServeWeb) -> Result<u8, RunError> {
    let choice = command.target.target("web").map_err(RunError::Usage)?;
    // What is wrong with it is said before anybody looks.
    let options = match choice {
        Choice::Run(AtArgs { at }) => {
            let path = runs::find(at.as_deref()).map_err(RunError::Usage)?;
            drop(Client::connect(&path)?);
            Web::of(path)
        }
        Choice::Stream(place) => {
            drop(asking::stream(&place)?);
            Web::of_stream(&place.stream.clone(), stream::routes(place))
        }
    };
    let ends = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
    let signals = Signals::new(ends.map(|signal| signal as i32));
    let mut signals = signals.map_err(RunError::of_thread)?;
    let _page = serve(options, &command.access, &command.address)?;
    let signal = signals.forever().next();
    Ok(signal.map_or(code::DONE, code::of_signal))
}

/// Serves the page of this process's run, if that is wanted.
pub(super) fn serve_own(args: &WebArgs, path: Option<&Path>) -> Result<Option<Web>, RunError> {
    match (&args.web, path) {
        (None, _) => Ok(None),
        (Some(address), Some(path)) => serve(Web::of(path), &args.access, address).map(Some),
        (Some(_), None) => Err(RunError::Usage(
            "--web shows what the control socket tells, and this run has none".into(),
        )),
    }
}

fn serve(mut options: WebOptions, access: &WebAccessArgs, address: &str) -> Result<Web, RunError> {
    if let Some(file) = &access.web_token_file {
        options = tokens(options, file).map_err(RunError::Usage)?;
    }
    if access.web_read_only {
        options = options.read_only();
    }
    for host in &access.web_host {
        options = options.host(host);
    }
    let page = options.serve(address).map_err(|why| {
        let advice = match access.web_token_file {
            Some(_) => "",
            None => " (--web-token-file FILE gives one)",
        };
        RunError::Usage(format!("--web {address}: {why}{advice}"))
    })?;
    screen::complain(&format_args!("the page is at http://{}/", page.address()));
    Ok(page)
}

/// Lets those in who have the tokens of this file. One that does not exist is made.
fn tokens(options: WebOptions, file: &PathBuf) -> Result<WebOptions, String> {
    let at = |why: &dyn std::fmt::Display| format!("--web-token-file {}: {why}", file.display());
    let text = match File::open(file) {
        Ok(open) => read(open).map_err(|why| at(&why))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let token = random_token();
            make(file, &token).map_err(|why| at(&why))?;
            screen::complain(&format_args!(
                "the token for the page, which {} has from now on: {token}",
                file.display()
            ));
            token
        }
        Err(error) => return Err(at(&error)),
    };
    let mut options = options;
    let lines = text.lines().map(str::trim);
    let mut has_any = false;
    for line in lines.filter(|line| !line.is_empty()) {
        let reading = line.strip_prefix(READ_ONLY).map(str::trim);
        let token = reading.unwrap_or(line);
        if token.len() < TOKEN_MIN {
            let why = format!("a token has at least {TOKEN_MIN} letters");
            return Err(at(&why));
        }
        has_any = true;
        options = match reading {
            Some(token) => options.reading_token(token),
            None => options.token(token),
        };
    }
    match has_any {
        true => Ok(options),
        false => Err(at(&"there is no token in it")),
    }
}

/// Reads a file that nobody else may read.
fn read(mut file: File) -> Result<String, String> {
    let mode = file.metadata().map_err(|why| why.to_string())?.mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "others may read it (its mode is {:03o}): chmod 600 keeps it to you",
            mode & 0o777
        ));
    }
    let mut text = String::new();
    let read = file.read_to_string(&mut text);
    read.map_err(|why| why.to_string())?;
    Ok(text)
}

fn make(path: &Path, token: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{token}")
}
