//! Measures the memory of a process and of all that it has started, from `/proc` (proc(5)).
//!
//! A page that several processes have counts for each by its share (PSS). The kernel walks all pages
//! to tell that, so it is asked only where what is resident, shared pages counted in full, is more
//! than matters. What has left the tree (its parent has ended) is not seen. It knows no limits.

use std::fs::{self, File};
use std::io::Read;

/// Returns `true` if the kernel tells what a process has started.
pub(crate) fn can_be_measured() -> bool {
    let this = std::process::id();
    fs::read(format!("/proc/{this}/task/{this}/children")).is_ok()
}

/// Returns the memory of this process and its descendants in bytes: their shares of it, or what is
/// resident, if that is no more than `enough`.
pub(crate) fn of_tree(pid: u32, enough: u64) -> u64 {
    let tree = tree_of(pid);
    let resident: u64 = tree.iter().filter_map(|pid| resident(*pid)).sum();
    if resident <= enough {
        return resident;
    }
    tree.iter().filter_map(|pid| share(*pid)).sum()
}

/// Returns a process and its descendants.
fn tree_of(pid: u32) -> Vec<u32> {
    let mut tree = vec![pid];
    let mut at = 0;
    while let Some(parent) = tree.get(at) {
        for child in children_of(*parent) {
            // A number that is used again while this looks must not lead it in a circle.
            if !tree.contains(&child) {
                tree.push(child);
            }
        }
        at += 1;
    }
    tree
}

fn children_of(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter();
    let lists = threads
        .flatten()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids = |list: String| -> Vec<u32> {
        let words = list.split_ascii_whitespace();
        words.filter_map(|word| word.parse().ok()).collect()
    };
    lists.flat_map(pids).collect()
}

/// Returns what is resident of a process in bytes, unless it has ended.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let mut text = [0; 128];
    let mut file = File::open(format!("/proc/{pid}/statm")).ok()?;
    let count = file.read(&mut text).ok()?;
    let text = std::str::from_utf8(&text[..count]).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Returns a process's share of what is resident. Where the kernel does not tell it, which it does
/// not of a program with other rights, all of it counts.
fn share(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
    text.and_then(|text| bytes_of(&text, "Pss:"))
        .or_else(|| resident(pid))
}

/// Returns the bytes that stand behind a name, in a file of names and kilobytes.
pub(super) fn bytes_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let number = line.strip_prefix(name)?.split_ascii_whitespace().next()?;
        Some(number.parse::<u64>().ok()? * 1024)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_tree_has_the_memory_of_all_that_is_in_it() {
        // Each shell keeps some MiB in a variable, the inner one being started by the outer one.
        let script = "a=$(head -c 24000000 /dev/zero | tr '\\0' a); echo $1; [ $1 = in ] || \
                      sh -c \"$0\" \"$0\" in; read _";
        let mut outer = Command::new("sh")
            .args(["-c", script, script, "out"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(outer.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "out");
        assert_eq!(lines.next().unwrap().unwrap(), "in");
        let tree = tree_of(outer.id());
        assert_eq!(tree.len(), 2, "{tree:?}");
        let inner = resident(tree[1]).unwrap();
        assert!(inner > 24_000_000, "{inner}");
        for enough in [0, u64::MAX] {
            let all = of_tree(outer.id(), enough);
            assert!(all > 48_000_000, "{all}");
        }
        let pid = outer.id();
        drop(outer.stdin.take());
        assert!(outer.wait_with_output().is_ok());
        assert_eq!(of_tree(pid, 0), 0);
    }

    #[test]
    fn memory_that_is_used_is_seen() {
        let this = std::process::id();
        let before = resident(this).unwrap();
        let ballast = vec![1_u8; 64 << 20];
        assert!(resident(this).unwrap() >= before + (60 << 20), "{before}");
        drop(ballast);
    }

    #[test]
    fn shares_are_at_most_what_is_resident() {
        assert!(can_be_measured());
        let this = std::process::id();
        let (share, resident) = (share(this).unwrap(), resident(this).unwrap());
        // It may grow in between.
        assert!(
            share > 0 && share < resident + (64 << 20),
            "{share} {resident}"
        );
    }

    #[test]
    fn a_number_is_found_by_its_whole_name() {
        let text = "00400000-7fff r--p [rollup]\nRss:  12 kB\nPss_Dirty: 3 kB\nPss:      7 kB\n";
        assert_eq!(bytes_of(text, "Pss:"), Some(7 * 1024));
        assert_eq!(bytes_of(text, "SwapPss:"), None);
    }
}
