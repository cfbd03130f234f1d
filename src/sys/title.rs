//! The process title that `ps` shows, changed by overwriting the memory of the arguments.
//!
//! Linux lets `ps` read a process's arguments from the process's own memory, so it shows what is
//! written there; PostgreSQL does the same. Writing needs no system call. A worker is started with
//! a long first argument, so there is room. For a program that a user started, the memory of the
//! environment behind is used as well, after its strings were copied elsewhere. Then there is room
//! behind the title for the words of its command line, by which `pgrep -f` finds it.

use std::fmt::{self, Write};
use std::fs;

use nix::libc;
use nix::sys::prctl;
use parking_lot::Mutex;

/// The room in bytes that a worker's first argument makes for its title.
pub(crate) const ROOM_BYTES: usize = 240;

struct Area {
    start: *mut u8,
    length: usize,
    /// The text before every activity.
    name: String,
    /// The text behind it: the command line as it was.
    words: String,
    /// Reused, so that a change of title does not allocate.
    text: String,
}

// SAFETY: the area is the process's own argument memory, which lives as long as the process, and
// after `claim` nothing but this module writes to it, under the lock.
unsafe impl Send for Area {}

static AREA: Mutex<Option<Area>> = Mutex::new(None);

/// Names this process, in the title and in `comm` (its first 15 bytes).
pub(crate) fn claim(name: &str) {
    claim_with(name, None);
}

/// Names a program that a user started and may look for by the words of its command line. It must
/// be called at the start of `main`, while this process has one thread.
pub(crate) fn claim_and_keep(name: &str, words: String) {
    claim_with(name, Some(words));
}

fn claim_with(name: &str, words: Option<String>) {
    let mut area = AREA.lock();
    let Some((start, length)) = argument_memory(words.is_some()) else {
        return;
    };
    *area = Some(Area {
        start,
        length,
        name: name.to_owned(),
        words: words.unwrap_or_default(),
        text: String::with_capacity(length),
    });
    drop(area);
    set_comm(name);
}

/// Names the calling thread, as `ps -o comm` shows it for a process's first one.
pub(crate) fn set_comm(name: &str) {
    let short: String = name.chars().take(15).filter(|c| *c != '\0').collect();
    if let Ok(short) = std::ffi::CString::new(short) {
        let _ = prctl::set_name(&short);
    }
}

/// Shows the process's name alone. A program that is not executed under its title needs that.
pub(crate) fn show_name() {
    let mut area = AREA.lock();
    if let Some(area) = area.as_mut() {
        area.text.clear();
        area.text.push_str(&area.name);
        area.write();
    }
}

/// Shows the process's activity. Does nothing before [`claim`].
pub(crate) fn set_activity(activity: &dyn fmt::Display) {
    let mut area = AREA.lock();
    if let Some(area) = area.as_mut() {
        area.show(activity);
    }
}

impl Area {
    fn show(&mut self, activity: &dyn fmt::Display) {
        self.text.clear();
        // Writing to a String does not fail; an activity whose Display fails is shown cut off.
        let _ = write!(self.text, "{} {activity}", self.name);
        if !self.words.is_empty() {
            // If there is room for one of them only, the words win, because users search for them.
            let room = (self.length - 1).saturating_sub(self.words.len() + 2);
            self.text.truncate(self.text.floor_char_boundary(room));
            // In one text: a title that outgrows the arguments is shown up to its first zero.
            let _ = write!(self.text, ": {}", self.words);
        }
        self.write();
    }

    fn write(&mut self) {
        let shown = self.text.len().min(self.length - 1);
        // SAFETY: `start` begins `length` writable bytes that belong to this process for its
        // whole life, and `shown < length`.
        unsafe {
            self.start
                .copy_from_nonoverlapping(self.text.as_ptr(), shown);
            self.start.add(shown).write_bytes(0, self.length - shown);
        }
    }
}

/// Returns the address and length of the arguments' memory, with an adjacent environment if asked.
fn argument_memory(with_environment: bool) -> Option<(*mut u8, usize)> {
    // proc(5), stat: after the command's name in brackets comes field 3; arg_start is field 48.
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let address = |number: usize| fields.get(number - 3)?.parse::<usize>().ok();
    let (start, mut end) = (address(48)?, address(49)?);
    let (env_start, env_end) = (address(50)?, address(51)?);
    if with_environment && env_start == end && copy_environment(env_start, env_end) {
        end = env_end;
    }
    if start == 0 || end <= start + 1 {
        return None;
    }
    Some((std::ptr::with_exposed_provenance_mut(start), end - start))
}

/// Moves the strings of the environment out of the memory that is to be overwritten.
fn copy_environment(start: usize, end: usize) -> bool {
    unsafe extern "C" {
        static mut environ: *mut *mut libc::c_char;
    }
    // SAFETY: called once, at the start of the command line's `main`, while this process has one
    // thread; `environ` is a null-terminated array of C strings, which libc keeps.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            if (start..end).contains(&(*entry).addr()) {
                let copy = libc::strdup(*entry);
                if copy.is_null() {
                    return false;
                }
                *entry = copy;
            }
            entry = entry.add(1);
        }
    }
    true
}
