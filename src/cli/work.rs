//! The contract between a run and its work: the items and their workers. `run` knows neither.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::Config;
use super::dead_letter_log::DeadLetterLog;
use super::exit_codes::RunError;
use super::expected::Expected;
use super::gathering::Feed;
use super::halt::HaltRule;
use super::input::{InputLine, ItemSource};
use super::printer::Printer;
use super::put_buffer::{PutBuffer, is_accepted};
use super::stop::Stop;
use super::unwritten::Unwritten;
use super::view::{Out, View};
use crate::control::ItemOutputs;
use crate::observe::spans::Labels;
use crate::observe::text::Wording;
use crate::observe::{Event, EventKind, Mode, Observer};
use crate::{Builder, Error, ItemId, JoinableQueue, Supervisor};
use dishrack_core::stream::entry::Layout;

/// The work of a run: items of one kind, their workers, and the views of their own.
pub(super) trait Work {
    type Item: Serialize + DeserializeOwned + 'static;

    /// The result of an item.
    type Outcome: 'static;

    /// Returns the words for its items.
    fn words(&self) -> &'static Wording;

    /// Returns `true` if its items take so long that they are followed one by one by default.
    fn is_slow(&self) -> bool;

    /// Returns `true` if ended attempts are kept in the journal until they are shown.
    fn keeps_attempts(&self) -> bool {
        false
    }

    /// Returns the name of an item, from its serialized bytes or the beginning of them.
    fn name_of(&self, _item: &[u8]) -> String {
        String::new()
    }

    /// Returns the command in one line, for the journal to remember.
    fn command(&self) -> Option<String> {
        None
    }

    /// Returns the rule that ends the run early.
    fn halt_rule(&self, _origin: &Origin) -> Option<HaltRule> {
        None
    }

    /// Returns what makes an item of a line of JSON, for those that are put from outside. The error
    /// says what is wrong with the line.
    fn reader(&self) -> ReadItem<Self::Item>;

    /// Returns what writes an item out whole, for those who want to see all of it.
    fn writer(&self) -> fn(Self::Item) -> Vec<u8>;

    /// Returns the output of its items, as far as it is kept, once its views are made.
    fn outputs(&self) -> Option<Arc<dyn ItemOutputs>> {
        None
    }

    /// Returns the items that a run which was killed had begun, once its views are made. Each is
    /// charged with the attempt that was lost.
    fn lost(&self) -> &[ItemId] {
        &[]
    }

    /// Returns `true` if each of its items is a command of its own.
    fn takes_commands(&self) -> bool {
        false
    }

    /// Returns the reason for which nobody else puts items, if there is one.
    fn refuses_puts(&self) -> Option<&'static str> {
        None
    }

    /// Returns the form of its items on a stream.
    fn layout(&self) -> Box<dyn Layout>;

    /// Returns the words of its pictures.
    fn labels(&self, config: &Config) -> Labels;

    /// Returns the views of the run, besides its lines.
    ///
    /// # Errors
    /// They lack something that they need.
    fn views(
        &mut self,
        config: &Config,
        origin: &Origin,
        out: &Out,
    ) -> Result<Vec<Box<dyn View>>, RunError>;

    /// Starts the workers.
    fn start_workers(
        &self,
        builder: Builder,
        queue: &JoinableQueue<Self::Item>,
    ) -> Result<Supervisor<Self::Item, Self::Outcome>, Error>;

    /// Makes an item of each line and puts it on the queue.
    fn produce(&self, producer: &mut Producer<'_, Self::Item>) -> Result<(), RunError>;
}

/// Makes an item of a line of JSON.
pub(super) type ReadItem<T> = Box<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

/// Notes that these attempts are shown, so that no later run shows them again.
pub(super) type OnShown = Arc<dyn Fn(&[(ItemId, u32)]) + Send + Sync>;

/// The beginning of a run, for its views.
pub(super) struct Origin {
    /// Items that were accepted by earlier runs.
    pub(super) accepted: u64,
    /// Those of them that have not ended, if they are wanted.
    pub(super) unfinished: BTreeSet<ItemId>,
    /// The ends of attempts that earlier runs have not shown, oldest items first.
    pub(super) unshown: Vec<Event>,
    /// The journal's identity, if there is a journal.
    pub(super) journal: Option<u128>,
    /// True if the journal's last run did not close it: it was killed.
    pub(super) was_left: bool,
    /// The file of dead letters, if it is wanted.
    pub(super) letters: Option<Arc<DeadLetterLog>>,
    /// Notes the attempts that are shown.
    pub(super) shown: OnShown,
    /// The attempts with a part that could not be written.
    pub(super) unwritten: Unwritten,
    pub(super) stop: Stop,
    /// The number of all items, as far as it is known.
    pub(super) expected: Expected,
}

/// The producer's place: lines come in, items go out.
pub(super) struct Producer<'a, T> {
    pub(super) config: &'a Config,
    pub(super) feed: Feed,
    pub(super) queue: &'a JoinableQueue<T>,
    pub(super) printer: &'a Printer,
    pub(super) stop: &'a Stop,
    pub(super) expected: &'a Expected,
    /// The number of lines that were read.
    pub(super) lines: u64,
    /// Items that were made and not yet put.
    pub(super) buffer: PutBuffer,
}

impl<'a, T: Serialize + DeserializeOwned + 'static> Producer<'a, T> {
    /// Returns the source of the lines.
    pub(super) fn source(&self) -> &'a ItemSource {
        &self.config.source
    }

    /// Returns the next line, or `None` at the end, or when the run is stopped.
    pub(super) fn next(&mut self) -> Result<Option<InputLine>, RunError> {
        // Items that were added do not wait for a line that may never come.
        let may_go_on = self.feed.is_ready(self.stop) || self.put_added()?;
        if !may_go_on || !self.stop.sleep(Duration::ZERO) {
            return Ok(None);
        }
        let line = self.feed.next(self.stop).transpose();
        let line = line.map_err(RunError::Usage)?;
        self.lines += u64::from(line.is_some());
        Ok(line)
    }

    /// Returns `true` if an earlier run put an item of this text, so that it is not put again.
    pub(super) fn was_put_before(&self, key: &[u8]) -> bool {
        let was_put = self.queue.was_put_before(key);
        if was_put {
            self.expected.pass_over();
        }
        was_put
    }

    /// Reports an item that is being made, if that is wanted. Waits while too many are unprinted.
    pub(super) fn tell(&self, what: impl FnOnce() -> EventKind) -> Result<(), RunError> {
        if self.printer.wants_items() {
            self.printer.wait_for_room();
            self.queue.emit(what())?;
        }
        Ok(())
    }

    /// Returns `true` if others work on the same items, whose number is then unknown here.
    pub(super) fn is_shared(&self) -> bool {
        self.config.is_shared()
    }

    /// Adds an item made from this text to those that are put next. Returns `false` if the queue is
    /// closed.
    pub(super) fn add(&mut self, item: &T, key: &[u8]) -> Result<bool, RunError> {
        if self.config.mode == Mode::Sequential {
            return self.put(item, key);
        }
        let added = self.buffer.add(self.queue, item, Some(key));
        is_accepted(added)
    }

    /// Puts the items that were added. Returns `false` if the queue is closed.
    pub(super) fn put_added(&mut self) -> Result<bool, RunError> {
        is_accepted(self.buffer.put(self.queue))
    }

    /// Returns the number of items that were left out since this was last called.
    pub(super) fn take_left_out(&mut self) -> u64 {
        let count = self.buffer.left_out.take();
        (0..count).for_each(|_| self.expected.pass_over());
        count
    }

    /// Puts an item made from this text. Returns `false` if the queue is closed.
    pub(super) fn put(&mut self, item: &T, key: &[u8]) -> Result<bool, RunError> {
        // With one person who does everything, an item is finished before the next one is put.
        let put = match self.is_shared() && self.config.mode == Mode::Sequential {
            true => self.queue.put(item).map(Some),
            false => self.queue.put_with_key(item, Some(key)),
        };
        is_accepted(put)
    }

    /// Returns the number that the next item will get, if nobody else puts one before. No item of
    /// this number has ended.
    pub(super) fn next_id(&self) -> Result<ItemId, RunError> {
        let accepted = self.queue.counts_here()?.accepted;
        Ok(ItemId(accepted + self.buffer.len() + 1))
    }
}
