//! Runs of a command: its items, its workers and its views.

mod budget;
mod dry;
mod ended;
mod history;
#[cfg(test)]
mod hostile;
mod item_texts;
mod joblog;
mod kept;
mod options;
mod output;
mod program;
mod results;
mod unanswered;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_bytes::ByteBuf;
use serde_json::Value;

use self::budget::Budget;
pub(super) use self::dry::dry_run;
use self::history::History;
use self::item_texts::ItemCheck;
use self::joblog::JobLog;
use self::kept::{BOUNDS_OF_RUN, BOUNDS_OF_SERVED, OutputKeeper};
pub(super) use self::options::{GIVEN, JobConfig, folder};
use self::output::{Outputs, Shape};
use self::results::Results;
use self::unanswered::Unanswered;
use super::config::{Config, Purpose};
use super::exit_codes::RunError;
use super::halt::HaltRule;
use super::input::ItemSource;
use super::layout::JobText;
use super::view::{Out, View};
use super::work::{Origin, Producer, ReadItem, Work};
use super::{pictures, scratch, screen};
use crate::control::ItemOutputs;
use crate::jobs::digest::ComparedOutput;
use crate::jobs::own::OwnCommand;
use crate::jobs::slots;
use crate::jobs::spool::Spool;
use crate::jobs::{self, Job, Setup};
use crate::observe::spans::Labels;
use crate::observe::text::Wording;
use crate::{Builder, Error, ItemId, Jobserver, JoinableQueue, Supervisor};
use dishrack_core::stream::entry::Layout;

/// The words for commands.
static WORDS: Wording = Wording {
    items: "jobs",
    doing: "running",
    done: "being run",
    again: "run again",
    steps: None,
};

/// The number of items that may be under way, or ended and not shown.
const UNSHOWN_MAX: usize = 1000;

/// The same with `--keep-order`, where they wait for the slowest, and with keys or priorities, where later
/// ones pass by.
const UNSHOWN_MAX_IN_ORDER: usize = 100_000;

/// The words for a job server of make's that is not open to this run.
const CLOSED_JOBSERVER: &str = "supervisor: make's job server is not open to this recipe, so one job runs at a time: begin its \
                                line with +";

/// The words for puts of others. An item of theirs would have the number of a line, so that a run which
/// goes on from the job log would leave out lines that were never done.
const LINES_IN_JOBLOG: &str = "the numbers in this run's --joblog are those of its lines, which items of others would \
                               shift: a run with a --journal takes them, and so does `supervisor serve`";

pub(super) struct Jobs {
    config: JobConfig,
    grace: Duration,
    /// Made with the views.
    spool: Spool,
    /// The same, if somebody may ask for output.
    keeper: Option<OutputKeeper>,
    /// The items that a run which was killed had begun.
    lost: Vec<ItemId>,
    budget: Budget,
    /// Make's job server, if a make has started this run.
    jobserver: Option<Jobserver>,
}

impl Jobs {
    /// Makes the run. `grace` is the time in which a process that serves items must end.
    pub(super) fn new(config: JobConfig, workers: usize, grace: Duration) -> Self {
        let items_max = match config.keeps_order || config.texts.let_pass_by() {
            true => UNSHOWN_MAX_IN_ORDER,
            false => UNSHOWN_MAX.max(workers * 4),
        };
        Jobs {
            config,
            grace,
            spool: Spool::default(),
            keeper: None,
            lost: Vec::new(),
            budget: Budget::new(items_max),
            jobserver: None,
        }
    }

    /// Has the run be a client of make's job server.
    pub(super) fn under(mut self, jobserver: Option<Jobserver>) -> Self {
        if jobserver
            .as_ref()
            .is_some_and(|jobserver| !jobserver.is_open())
        {
            screen::say(CLOSED_JOBSERVER);
        }
        self.jobserver = jobserver;
        self
    }

    fn setup(&self) -> Setup {
        Setup {
            spool: self.spool.clone(),
            grace: self.grace,
            ..self.config.setup.clone()
        }
    }
}

impl Work for Jobs {
    type Item = Job;
    type Outcome = ComparedOutput;

    fn words(&self) -> &'static Wording {
        &WORDS
    }

    fn is_slow(&self) -> bool {
        true
    }

    fn keeps_attempts(&self) -> bool {
        true
    }

    fn name_of(&self, item: &[u8]) -> String {
        match self.config.setup.is_own {
            true => jobs::name_of_own(item),
            false => jobs::name_of(item),
        }
    }

    fn command(&self) -> Option<String> {
        Some(self.config.setup.source())
    }

    fn halt_rule(&self, origin: &Origin) -> Option<HaltRule> {
        let halt = self.config.halt?;
        Some(HaltRule::new(
            halt,
            origin.expected.clone(),
            origin.accepted,
            origin.stop.clone(),
        ))
    }

    fn reader(&self) -> ReadItem<Job> {
        let check = self.config.check();
        if self.config.setup.is_own {
            return Box::new(|line| {
                let own = OwnCommand::read_new(line).map_err(|why| why.to_string())?;
                let text = own.line().into_bytes();
                let text = ByteBuf::from(text);
                Ok(Job { text })
            });
        }
        Box::new(move |line| read_item(line, &check))
    }

    fn writer(&self) -> fn(Job) -> Vec<u8> {
        |job| job.text.into_vec()
    }

    fn lost(&self) -> &[ItemId] {
        &self.lost
    }

    fn takes_commands(&self) -> bool {
        self.config.setup.is_own
    }

    fn refuses_puts(&self) -> Option<&'static str> {
        self.config.has_lines_in_joblog.then_some(LINES_IN_JOBLOG)
    }

    fn outputs(&self) -> Option<Arc<dyn ItemOutputs>> {
        self.keeper.as_ref().map(OutputKeeper::for_clients)
    }

    fn layout(&self) -> Box<dyn Layout> {
        Box::new(JobText)
    }

    fn labels(&self, config: &Config) -> Labels {
        pictures::job_labels(config)
    }

    fn views(
        &mut self,
        config: &Config,
        origin: &Origin,
        out: &Out,
    ) -> Result<Vec<Box<dyn View>>, RunError> {
        let results = self.config.results.take();
        let folder = match (&config.journal, origin.journal) {
            (Some((journal, _)), Some(identity)) => {
                scratch::create_for(journal, identity, !origin.unshown.is_empty())
            }
            // On the file system of the results, so that files can be linked to their place.
            _ => match &results {
                Some(place) => scratch::create_in(place.folder()),
                None => scratch::create_in(&std::env::temp_dir()),
            },
        };
        let spool = folder.map_err(RunError::Usage)?;
        if config.purpose == Purpose::Serve {
            return Ok(self.views_of_served(spool, config, origin));
        }
        self.choose_output(config, spool, results.is_some());
        let mut views: Vec<Box<dyn View>> = Vec::new();
        let (setup, spool) = (self.setup(), self.spool.clone());
        // It comes before the view that removes what was shown.
        if let Some(joblog) = self.config.joblog.take() {
            let log = JobLog::new(
                joblog,
                setup.clone(),
                spool.clone(),
                origin.unwritten.clone(),
            );
            views.push(Box::new(log));
        }
        let shape = Shape {
            has_stdout_files: self.config.setup.server.is_none(),
            keeps_order: self.config.keeps_order,
            is_line_buffered: self.config.is_line_buffered,
            is_tagged: self.config.is_tagged,
            format: config.format,
        };
        let mut results = results.map(|place| Results::new(place, setup));
        // Numbers begin with one again, unless they continue a journal's or a log's, or are a stream's.
        let is_first = origin.accepted == 0 && !self.config.is_continued && !config.is_shared();
        if let Some(results) = results.as_mut().filter(|_| is_first) {
            results.begin_anew();
        }
        let returns = self.budget.returns();
        self.keeper = (!config.control.no_control).then(|| {
            let (accepted, unfinished) = (origin.accepted, &origin.unfinished);
            OutputKeeper::new(spool.clone(), BOUNDS_OF_RUN, accepted, unfinished)
        });
        let keeper = self.keeper.clone();
        let outputs = Outputs::new(
            (spool, keeper),
            shape,
            results,
            origin,
            (out.clone(), returns),
        );
        views.push(Box::new(outputs));
        if self.config.setup.server.is_some() {
            let unanswered = Unanswered::new(config.pool.max_restarts, origin.stop.clone());
            views.push(Box::new(unanswered));
        }
        views.push(Box::new(self.budget.returns()));
        Ok(views)
    }

    fn start_workers(
        &self,
        builder: Builder,
        queue: &JoinableQueue<Job>,
    ) -> Result<Supervisor<Job, ComparedOutput>, Error> {
        let (mut builder, mut setup) = (builder, self.setup());
        if let Some(jobserver) = &self.jobserver {
            builder = builder.jobserver(jobserver.clone());
            // A named pipe is open to commands anyway.
            setup.jobserver = jobserver.variables();
            if let Some(ends) = jobserver.ends().filter(|_| !setup.jobserver.is_empty()) {
                builder = builder.context_files(ends);
            }
        }
        let mut builder = builder
            .name("worker")
            .name_raw_items(match self.config.setup.is_own {
                true => jobs::name_of_own,
                false => jobs::name_of,
            })
            .keeper()
            .context(&setup)?;
        if self.config.setup.server.is_none() {
            // Only this program writes there, for histories. A command's own stderr lies in a file.
            builder = builder.hide_stderr();
        }
        if self.config.halt.is_some() {
            // A command that was handed out in advance would be begun before it can be stopped.
            builder = builder.without_prefetch();
        }
        if let Some(count) = slots::at_once(&self.config.setup.slots) {
            builder = builder.slots(count);
        }
        if let Some((template, per_key)) = self.config.texts.key.clone() {
            let key = move |job: &Job| jobs::key_of(&job.text, &template);
            builder = builder.per_key(per_key, key);
        }
        if let Some(template) = self.config.texts.priority.clone() {
            let priority = move |job: &Job| jobs::priority_of(&job.text, &template).unwrap_or(0);
            builder = builder.priority(priority);
        }
        let [not_before, deadline] = self.config.texts.times.clone();
        if let Some(template) = not_before {
            builder = builder.not_before(move |job: &Job| jobs::time_in(&job.text, &template));
        }
        if let Some(template) = deadline {
            builder = builder.deadline(move |job: &Job| jobs::time_in(&job.text, &template));
        }
        let unique = self.config.texts.unique.clone();
        if self.config.setup.is_own {
            builder = with_own_terms(builder);
        }
        if unique.is_some() || self.config.setup.is_own {
            let is_own = self.config.setup.is_own;
            builder = builder.unique_by(move |job: &Job| {
                let own = is_own.then(|| jobs::own_unique(&job.text)).flatten();
                own.or_else(|| jobs::unique_of(&job.text, unique.as_ref()?))
            });
        }
        if self.config.setup.is_compared {
            builder = builder.compare_ends(ComparedOutput::failure);
        }
        builder.handler(queue, jobs::run)
    }

    fn produce(&self, producer: &mut Producer<'_, Job>) -> Result<(), RunError> {
        let produced = self.put_lines(producer);
        // The lines before a wrong one are worked on too.
        let put = producer.put_added();
        self.return_duplicates(producer, ItemId(0));
        if let Some(words) = producer.buffer.left_out.words() {
            screen::complain(&words);
        }
        produced.and(put.map(drop))
    }
}

impl Jobs {
    /// Makes the views of a queue that stays.
    fn views_of_served(
        &mut self,
        spool: Spool,
        config: &Config,
        origin: &Origin,
    ) -> Vec<Box<dyn View>> {
        self.spool = spool.clone();
        let (accepted, unfinished) = (origin.accepted, &origin.unfinished);
        let keeper = OutputKeeper::new(spool.clone(), BOUNDS_OF_SERVED, accepted, unfinished);
        self.keeper = Some(keeper.clone());
        let (history, lost) = History::resume(spool, keeper, origin);
        self.lost = lost;
        let mut views: Vec<Box<dyn View>> = vec![Box::new(history)];
        if self.config.setup.server.is_some() {
            let unanswered = Unanswered::new(config.pool.max_restarts, origin.stop.clone());
            views.push(Box::new(unanswered));
        }
        views
    }

    /// Chooses how the output of commands is kept in this folder.
    fn choose_output(&mut self, config: &Config, mut spool: Spool, has_results: bool) {
        // Results and rows are made of an attempt's files, and lines are shown while it writes to
        // them. What a journal has is what the next run finds.
        let needs_files = config.journal.is_some()
            || has_results
            || self.config.joblog.is_some()
            || self.config.is_line_buffered
            || self.config.setup.server.is_some();
        if !needs_files {
            spool = spool.logged();
        }
        if let Some(copies) = config.options.copies {
            self.config.setup.is_compared = copies.needed() > 1;
            spool = spool.copied();
        }
        self.spool = spool;
    }

    fn put_lines(&self, producer: &mut Producer<'_, Job>) -> Result<(), RunError> {
        let source = producer.source();
        say_if_terminal(source);
        let mut is_first = true;
        let check = self.config.check();
        while let Some(line) = producer.next()? {
            check.line(&line, source).map_err(RunError::Usage)?;
            if self.config.setup.numbering.leaves_out(line.number) {
                producer.expected.pass_over();
                continue;
            }
            if producer.was_put_before(&line.bytes) {
                continue;
            }
            if let Some(delay) = self.config.delay.filter(|_| !is_first)
                && !(producer.put_added()? && producer.stop.sleep(delay))
            {
                break;
            }
            is_first = false;
            let bytes = line.bytes.len();
            // The number of a small one is not asked for.
            let is_large = budget::is_large(bytes);
            if is_large && self.config.texts.unique.is_some() && !producer.put_added()? {
                break;
            }
            self.return_duplicates(producer, ItemId(0));
            let id = match is_large {
                true => producer.next_id()?,
                false => ItemId(0),
            };
            if !producer.is_shared() && !self.budget.try_take(id, bytes) {
                // Only items that are on the queue can make room.
                if !producer.put_added()? {
                    break;
                }
                self.return_duplicates(producer, ItemId(0));
                self.budget.take(id, bytes, producer.stop);
            }
            let job = Job {
                text: ByteBuf::from(line.bytes),
            };
            if !producer.add(&job, &job.text)? {
                break;
            }
            // A large one is known by its number, which is another's if it is left out.
            if is_large && self.config.texts.unique.is_some() {
                let may_go_on = producer.put_added()?;
                self.return_duplicates(producer, id);
                if !may_go_on {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Gives back the room that was taken for items that were left out, the last of which would have had
    /// this number.
    fn return_duplicates(&self, producer: &mut Producer<'_, Job>, id: ItemId) {
        for _ in 0..producer.take_left_out() {
            self.budget.give_back(id);
        }
    }
}

/// Has commands of their own be run when they say.
fn with_own_terms(builder: Builder) -> Builder {
    let terms = |job: &Job| jobs::own_terms(&job.text);
    builder
        .priority(move |job| terms(job).priority)
        .not_before(move |job| terms(job).not_before.and_then(jobs::at))
        .deadline(move |job| terms(job).deadline.and_then(jobs::at))
        .after(move |job| terms(job).after.into_iter().map(ItemId).collect())
}

/// Makes an item of a line of JSON: of a string its text, of `{"base64": ...}` the bytes that it
/// stands for, and of anything else the line as it is written.
fn read_item(line: &[u8], check: &ItemCheck) -> Result<Job, String> {
    let value: Value = serde_json::from_slice(line).map_err(|why| why.to_string())?;
    let text = match &value {
        Value::String(text) => text.clone().into_bytes(),
        Value::Object(fields) if fields.len() == 1 && value["base64"].is_string() => {
            let text = value["base64"].as_str().unwrap_or_default();
            BASE64_STANDARD
                .decode(text)
                .map_err(|why| format!("base64: {why}"))?
        }
        _ => line.to_vec(),
    };
    check.text(&text)?;
    let text = ByteBuf::from(text);
    Ok(Job { text })
}

/// Says that items are read from the terminal, so that the wait is no surprise.
pub(super) fn say_if_terminal(source: &ItemSource) {
    if *source == ItemSource::Stdin && io::stdin().is_terminal() {
        screen::say("supervisor: items are read from the terminal, one a line; Ctrl-D ends them");
    }
}
