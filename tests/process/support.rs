//! Runs the command and other programs, and waits for their effects.

use std::fs;

use serde_json::Value;

pub(crate) use crate::deadline::{DEADLINE, until, until_within};
pub(crate) use crate::run::{PLAY, Run, pid_of, send};

pub(crate) fn play() -> Option<String> {
    std::env::var(PLAY).ok()
}

/// Returns the events of this name.
pub(crate) fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["event"] == name)
        .collect()
}

/// Returns `true` if a process exists and has not ended. A zombie has ended.
pub(crate) fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

/// Returns the process's state, as a letter of proc(5).
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Returns the number of a process's open files.
pub(crate) fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Returns the number of a process's children that ended and were not waited for.
pub(crate) fn zombies_of(parent: u32) -> usize {
    let is_zombie = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .map_or("", |s| s.1)
            .split(' ')
            .collect();
        fields.first() == Some(&"Z") && fields.get(1) == Some(&parent.to_string().as_str())
    };
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_zombie(*pid)).count()
}

/// Returns a process's children, started or adopted.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    // A process that is gone has none.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let children = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")));
    let children: String = children.map(|list| list.unwrap_or_default()).collect();
    children
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// Returns the words of a process, as `ps` shows them.
pub(crate) fn args_of(pid: u32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.trim_end_matches('\0').trim_end().to_owned()
}
