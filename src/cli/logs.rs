//! `supervisor logs`: shows what the command of an item has written, and follows it if that is asked
//! for.

use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::args::{Choice, Format, TargetArgs};
use super::asking::{self, connect, number, text};
use super::exit_codes::{RunError, code};
use super::screen::{self, StandardStream};
use crate::ItemId;
use crate::control::client::Client;
use crate::control::runs::{self, FoundRun};
use crate::control::stream::StreamClient;

#[derive(Debug, Args)]
#[command(after_help = "\
What the command wrote to stdout comes on stdout, and what it wrote to stderr on stderr. A run keeps
the output of its latest items; docs/api.md says how much. That of an item of a stream is with the
supervisor that has worked on it: it is shown where that is a run of this machine and goes on, and
otherwise the error says where to ask.

Examples:
  supervisor logs 7
      what item 7 of the only run has written so far, in its latest attempt
  supervisor logs -f 7 --at nightly
      all that it writes until it has ended, each attempt after the other
  supervisor logs 7 --redis redis://db1
      the same of an item of a stream, if it was worked on here")]
pub(super) struct ShowLogs {
    /// The item's number
    #[arg(value_name = "ITEM")]
    number: u64,

    /// Follow the item until it has ended
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    target: TargetArgs,

    /// The form of the output: as it was written, or the JSON lines of the API
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Shows the output and returns the exit code.
pub(super) fn run(command: &ShowLogs) -> Result<u8, RunError> {
    let mut client = match command.target.target("logs").map_err(RunError::Usage)? {
        Choice::Run(at) => connect(&at)?,
        Choice::Stream(place) => connect_near(&asking::stream(&place)?, ItemId(command.number))?,
    };
    let follow = if command.follow { "?follow=true" } else { "" };
    let target = format!("/v1/items/{}/output{follow}", command.number);
    let (mut has_ended, mut attempt) = (false, None);
    for line in client.ask_for_lines(&target)? {
        let line = line?;
        has_ended |= line.get("end").is_some();
        let told = match command.format {
            Format::Json => tell(StandardStream::Out, format!("{line}\n").as_bytes()),
            Format::Text => {
                if let Some(next) = line.get("attempt").map(number)
                    && attempt.replace(next).is_some_and(|before| before != next)
                {
                    screen::complain(&format_args!("item {}, attempt {next}:", command.number));
                }
                tell_piece(&line)
            }
        };
        match told {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(code::CLOSED_STDOUT);
            }
            told => told.map_err(|error| RunError::of_stdout(&error))?,
        }
    }
    match has_ended {
        true => Ok(code::DONE),
        false => Err(RunError::Usage(format!(
            "the run has ended, or the connection was lost, before the end of item {}",
            command.number
        ))),
    }
}

/// Connects to the run that has the output of an item of a stream, if it is on this machine.
pub(super) fn connect_near(stream: &StreamClient, id: ItemId) -> Result<Client, RunError> {
    let elsewhere = stream.place_of_output(id)?;
    let found = runs::all().unwrap_or_default();
    let near = stream.runs_near(id)?.into_iter().filter_map(|(name, pid)| {
        let is_it = |run: &&FoundRun| run.name == name && run.pid == Some(pid);
        let mut run = Client::connect(&found.iter().find(is_it)?.path).ok()?;
        let target = format!("/v1/items/{id}");
        let item = run.ask(Method::GET, &target, None, "").ok()?;
        let attempt = match item["ended"]["attempt"].as_u64() {
            // It has ended elsewhere.
            None if matches!(text(&item["state"]), "done" | "dead") => return None,
            None => number(&item["attempts"]),
            Some(attempt) => attempt,
        };
        Some((attempt, run))
    });
    // Of several that have tried it, the last one.
    let last = near.max_by_key(|(attempt, _)| *attempt);
    last.map(|(_, run)| run).ok_or(RunError::Usage(elsewhere))
}

/// Writes a piece of output to where it was written.
fn tell_piece(line: &Value) -> io::Result<()> {
    let stream = match text(&line["stream"]) {
        "stdout" => StandardStream::Out,
        "stderr" => StandardStream::Err,
        _ => return Ok(()),
    };
    match line["base64"].as_str() {
        None => tell(stream, text(&line["text"]).as_bytes()),
        Some(base64) => {
            let bytes = BASE64_STANDARD.decode(base64).map_err(io::Error::other)?;
            tell(stream, &bytes)
        }
    }
}

fn tell(mut stream: StandardStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}
