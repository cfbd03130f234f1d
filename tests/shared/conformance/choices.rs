//! Items that choose for themselves what others have from their queue: the same on every link. A place
//! that does not keep choices refuses each by its name.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dishrack::{Cause, Error, ItemId, JoinableQueue, Options, PutOptions};
use serde::{Deserialize, Serialize};

use super::{Link, join, start_workers};
use crate::place;

suite!(
    a_greater_priority_goes_first,
    items_of_a_key_are_begun_one_at_a_time_in_their_order,
    an_item_begins_at_its_time_and_after_those_that_it_names,
    an_item_past_its_deadline_is_not_begun_nor_what_is_after_it,
    a_duplicate_is_refused_with_the_item_that_stands_for_it,
    a_choice_cannot_be_made_in_another_process,
);

const HOUR: Duration = Duration::from_secs(3600);

/// A line that is added to a file, while no other one is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    file: PathBuf,
    text: String,
    /// True if nothing else may be added to the same file meanwhile.
    is_alone: bool,
}

pub(super) fn add(line: Line) -> Result<(), String> {
    let why = |error: std::io::Error| error.to_string();
    let lock = line.file.with_extension("lock");
    if line.is_alone {
        fs::File::create_new(&lock).map_err(why)?;
    }
    let mut file = fs::File::options();
    let mut file = file
        .append(true)
        .create(true)
        .open(&line.file)
        .map_err(why)?;
    file.write_all(format!("{}\n", line.text).as_bytes())
        .map_err(why)?;
    match line.is_alone {
        true => fs::remove_file(&lock).map_err(why),
        false => Ok(()),
    }
}

struct Book {
    folder: tempfile::TempDir,
    queue: JoinableQueue<Line>,
}

impl Book {
    fn new() -> Self {
        Book {
            folder: tempfile::tempdir().unwrap(),
            queue: place::queue(Options::default().max_attempts(1)),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn line(&self, file: &str, text: &str) -> Line {
        Line {
            file: self.file(file),
            text: text.into(),
            is_alone: file != "all",
        }
    }

    /// Puts an item with choices. Returns `None` where the place does not keep them, after it was checked
    /// that it says so.
    fn put(&self, line: &Line, options: PutOptions, option: &str) -> Option<Result<ItemId, Error>> {
        let put = self.queue.put_with(line, options);
        if place::KEEPS_CHOICES {
            return Some(put);
        }
        let error = put.unwrap_err();
        let why = error.to_string();
        assert!(error.is_setup() && why.starts_with(option), "{why}");
        assert!(why.contains("Redis"), "{why}");
        assert_eq!(self.queue.counts().unwrap().accepted, 0);
        None
    }
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn chosen() -> PutOptions {
    PutOptions::default()
}

fn a_greater_priority_goes_first(link: Link) {
    let book = Book::new();
    let _pool = start_workers(link, &book.queue, add);
    book.queue.pause().unwrap();
    let low = book.line("all", "low");
    let Some(first) = book.put(&low, chosen().priority(-3), "priority") else {
        return;
    };
    first.unwrap();
    for _ in 0..10 {
        book.queue.put(&book.line("all", "usual")).unwrap();
    }
    for _ in 0..10 {
        let high = book.line("all", "high");
        book.queue.put_with(&high, chosen().priority(5)).unwrap();
    }
    book.queue.unpause().unwrap();
    assert_eq!(join(&book.queue), (21, 0));
    let seen = lines(&book.file("all"));
    assert_eq!((seen.len(), &*seen[0]), (21, "high"), "{seen:?}");
}

fn items_of_a_key_are_begun_one_at_a_time_in_their_order(link: Link) {
    let book = Book::new();
    let _pool = start_workers(link, &book.queue, add);
    for n in 0..30 {
        for key in ["a", "b"] {
            let line = book.line(key, &n.to_string());
            match book.put(&line, chosen().key(key), "key") {
                Some(put) => drop(put.unwrap()),
                None => return,
            }
        }
    }
    assert_eq!(join(&book.queue), (60, 0));
    let expected: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    for key in ["a", "b"] {
        assert_eq!(lines(&book.file(key)), expected, "{key}");
    }
}

fn an_item_begins_at_its_time_and_after_those_that_it_names(link: Link) {
    let book = Book::new();
    let _pool = start_workers(link, &book.queue, add);
    let time = SystemTime::now() + Duration::from_millis(100);
    let first = book.line("all", "first");
    let Some(first) = book.put(&first, chosen().not_before(time), "not_before") else {
        let after = chosen().after([ItemId(1)]);
        assert!(book.put(&book.line("all", "x"), after, "after").is_none());
        return;
    };
    let first = first.unwrap();
    let put = |text: &str, options| {
        let line = book.line("all", text);
        book.queue.put_with(&line, options).unwrap()
    };
    let second = put("second", chosen().after([first]));
    put("third", chosen().after([first, second]));
    book.queue.put(&book.line("all", "at once")).unwrap();
    assert_eq!(join(&book.queue), (4, 0));
    assert!(SystemTime::now() >= time);
    // A worker that begins late may find the first one due, before the one that had no time to wait for.
    let (at_once, ordered): (Vec<String>, Vec<String>) = lines(&book.file("all"))
        .into_iter()
        .partition(|line| line == "at once");
    assert_eq!(at_once.len(), 1);
    assert_eq!(ordered, ["first", "second", "third"]);
    let unknown = book
        .queue
        .put_with(&book.line("all", "x"), chosen().after([ItemId(99)]));
    assert!(unknown.unwrap_err().is_dependency());
}

fn an_item_past_its_deadline_is_not_begun_nor_what_is_after_it(link: Link) {
    let book = Book::new();
    let _pool = start_workers(link, &book.queue, add);
    book.queue.pause().unwrap();
    let past = SystemTime::now() - Duration::from_secs(1);
    let late = book.put(
        &book.line("all", "late"),
        chosen().deadline(past),
        "deadline",
    );
    let Some(late) = late else {
        return;
    };
    let late = late.unwrap();
    let in_time = chosen().deadline(SystemTime::now() + HOUR);
    book.queue
        .put_with(&book.line("all", "in time"), in_time)
        .unwrap();
    // Nobody has looked at the time meanwhile, or somebody has.
    let next = book
        .queue
        .put_with(&book.line("all", "next"), chosen().after([late]));
    let dead = match &next {
        Ok(_) => 2,
        Err(error) => {
            assert!(error.is_dependency(), "{error}");
            1
        }
    };
    book.queue.unpause().unwrap();
    assert_eq!(join(&book.queue), (1, dead));
    assert_eq!(lines(&book.file("all")), ["in time"]);
    let letters = book.queue.take_dead_letters().unwrap();
    let cause = |id| {
        let letter = letters.iter().find(|letter| letter.id == id).unwrap();
        letter.history[0].cause.clone()
    };
    assert_eq!(cause(late), Cause::DeadlinePassed);
    if let Ok(next) = next {
        assert_eq!(cause(next), Cause::DependencyFailed(late));
    }
}

fn a_duplicate_is_refused_with_the_item_that_stands_for_it(link: Link) {
    let book = Book::new();
    let _pool = start_workers(link, &book.queue, add);
    book.queue.pause().unwrap();
    let line = book.line("all", "report");
    let Some(first) = book.put(&line, chosen().unique("report"), "unique") else {
        return;
    };
    let first = first.unwrap();
    let again = |options| book.queue.put_with(&line, options);
    let refused = again(chosen().unique("report")).unwrap_err();
    assert_eq!(refused.duplicate_of(), Some(first));
    assert!(
        refused.to_string().contains("a duplicate of item 1"),
        "{refused}"
    );
    again(chosen().unique("another")).unwrap();
    book.queue.put(&line).unwrap();
    book.queue.unpause().unwrap();
    assert_eq!(join(&book.queue), (3, 0));
    let hourly = again(chosen().unique_for(HOUR, "report")).unwrap();
    assert_eq!(join(&book.queue), (4, 0));
    let refused = again(chosen().unique("report")).unwrap_err();
    assert_eq!(refused.duplicate_of(), Some(hourly), "done, but not over");
    assert_eq!(book.queue.counts().unwrap().accepted, 4);
}

/// Puts an item with a choice on its own queue, and returns the error.
pub(super) fn choose_here(_: u64) -> Result<String, String> {
    let queue = JoinableQueue::<u64>::current().ok_or("no queue")?;
    let put = queue.put_with(&7, chosen().priority(1));
    Ok(put.err().map(|error| error.to_string()).unwrap_or_default())
}

fn a_choice_cannot_be_made_in_another_process(link: Link) {
    if !matches!(link, Link::Process | Link::Forked) {
        return;
    }
    let queue = place::queue(Options::default());
    let pool = start_workers(link, &queue, choose_here);
    let why = pool.map([1]).next().unwrap().unwrap();
    assert!(why.starts_with("priority: "), "{why}");
    assert!(why.contains("only where the queue is"), "{why}");
}
