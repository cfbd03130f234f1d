//! Measures the memory of this process.

use std::fs::File;
use std::io::Read;

/// Returns the resident memory in bytes from `/proc/self/statm` (proc(5)), or 0 without it.
pub(super) fn resident() -> u64 {
    let mut text = [0; 128];
    let read = File::open("/proc/self/statm").and_then(|mut file| file.read(&mut text));
    let text = &text[..read.unwrap_or(0)];
    let pages = std::str::from_utf8(text).ok().and_then(pages_of);
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

/// Returns the second number of the line, the pages in memory.
fn pages_of(statm: &str) -> Option<u64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_used_is_seen() {
        let before = resident();
        let ballast = vec![1_u8; 64 << 20];
        assert!(resident() >= before + (60 << 20), "{before}");
        drop(ballast);
    }
}
