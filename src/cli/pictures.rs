//! `--timeline` and `--trace`: views that write the pure folds' results into files.

use std::io::{self, BufWriter, Write};

use serde_json::Value;

use super::config::Config;
use super::input::ItemSource;
use super::output::{self, OutputFile};
use super::view::View;
use crate::observe::Event;
use crate::observe::spans::Labels;
use crate::observe::timeline::{Timeline, grouped, svg};
use crate::observe::trace::Trace;

/// Returns the views that the configuration asks for.
pub(super) fn views(config: &Config, labels: &Labels) -> io::Result<Vec<Box<dyn View>>> {
    let mut views: Vec<Box<dyn View>> = Vec::new();
    if let Some(output) = &config.timeline {
        views.push(Box::new(Picture::new(output.handle()?, labels.clone())));
    }
    if let Some(output) = &config.trace {
        views.push(Box::new(Tape::new(output.handle()?, labels.clone())));
    }
    Ok(views)
}

/// Returns the labels for a run of a command.
pub(super) fn job_labels(config: &Config) -> Labels {
    let what = items(config, "job", "jobs");
    Labels {
        title: format!("{what}, {}", workers(config, "worker", "workers")),
        producer: None,
        working: "Running".into(),
        items: "jobs".into(),
    }
}

/// Returns the number of workers with their noun.
pub(super) fn workers(config: &Config, one: &str, many: &str) -> String {
    count(u64::try_from(config.workers).unwrap_or(u64::MAX), one, many)
}

/// Returns the number of items, or else their source.
pub(super) fn items(config: &Config, one: &str, many: &str) -> String {
    if let Some(number) = config.items_given() {
        return count(number, one, many);
    }
    let origin = match &config.source {
        ItemSource::MadeUp(series) => format!("{many} of {}", series.option),
        ItemSource::Given(_) | ItemSource::Combined(_) => format!("{many} of the command line"),
        ItemSource::File(path) => {
            let name = path.file_name().unwrap_or(path.as_os_str());
            format!("{many} of {}", name.display())
        }
        ItemSource::Stdin => format!("{many} from stdin"),
        ItemSource::Others => format!("{many} of others"),
    };
    let mut letters = origin.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

/// Returns a number with its noun.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    let what = if number == 1 { one } else { many };
    format!("{} {what}", grouped(number))
}

/// A time chart, drawn when the run is over.
struct Picture {
    output: OutputFile,
    timeline: Timeline,
}

impl Picture {
    fn new(output: OutputFile, labels: Labels) -> Self {
        let timeline = Timeline::new(labels);
        Picture { output, timeline }
    }
}

impl View for Picture {
    fn see(&mut self, event: &Event) -> io::Result<()> {
        self.timeline.see(event);
        Ok(())
    }

    fn end(&mut self) -> io::Result<bool> {
        self.timeline.end();
        Ok(write_picture(&mut self.output, &svg::draw(&self.timeline)))
    }
}

/// Writes the picture. Returns `true` on success, and reports a failure.
pub(super) fn write_picture(output: &mut OutputFile, picture: &str) -> bool {
    let written = output
        .begin()
        .and_then(|()| output.write_all(picture.as_bytes()));
    written.map_err(|error| output.complain(&error)).is_ok()
}

/// A trace, written event by event: an array of JSON values, one a line.
struct Tape {
    out: BufWriter<OutputFile>,
    trace: Trace,
    has_begun: bool,
    /// True after a failure, which was reported.
    is_torn: bool,
}

impl Tape {
    fn new(output: OutputFile, labels: Labels) -> Self {
        Tape {
            out: BufWriter::new(output),
            trace: Trace::new(labels),
            has_begun: false,
            is_torn: false,
        }
    }

    /// Writes, unless an earlier write failed.
    fn write(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>) {
        if self.is_torn {
            return;
        }
        if let Err(error) = write(self) {
            self.is_torn = true;
            self.out.get_ref().complain(&error);
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        self.has_begun = true;
        self.out.get_mut().begin()?;
        let (beginning, _) = output::TRACE;
        let pid = std::process::id();
        write!(
            self.out,
            "{beginning}\"pid\":{pid},\"tid\":0,\"args\":{{}}}}"
        )
    }

    fn add(&mut self, values: &[Value]) -> io::Result<()> {
        for value in values {
            if !self.has_begun {
                self.begin()?;
            }
            write!(self.out, ",\n{value}")?;
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        if !self.has_begun {
            self.begin()?;
        }
        self.out.write_all(b"\n]\n")?;
        self.out.flush()
    }
}

impl View for Tape {
    fn see(&mut self, event: &Event) -> io::Result<()> {
        let values = self.trace.see(event);
        self.write(|tape| tape.add(&values));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write(|tape| tape.out.flush());
        Ok(())
    }

    fn end(&mut self) -> io::Result<bool> {
        let values = self.trace.end();
        self.write(|tape| tape.add(&values).and_then(|()| tape.close()));
        Ok(!self.is_torn)
    }
}
