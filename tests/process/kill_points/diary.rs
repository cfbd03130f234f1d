//! What happened in a job, as its processes wrote it down, and what must hold of that.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::plays::{Kind, MANY, MAPPED, OWN, REFUSED};

/// The file that all processes of a job write to.
pub(super) struct Diary(PathBuf);

impl Diary {
    pub(super) fn of(folder: &Path) -> Self {
        Diary(folder.join("diary"))
    }

    /// Adds a line, in one write, so that all processes can.
    pub(super) fn note(&self, line: &str) {
        let mut diary = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.0)
            .unwrap();
        diary.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(super) fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap_or_default()
    }
}

/// A job that was killed once and run again.
pub(super) struct Account<'a> {
    diary: String,
    kind: Kind,
    /// Where it was killed.
    of: &'a str,
}

/// The numbers of items, by what was written of them.
#[derive(Default)]
struct Sets {
    accepted: BTreeSet<u64>,
    did: BTreeSet<u64>,
    done: BTreeSet<u64>,
}

impl<'a> Account<'a> {
    pub(super) fn of(folder: &tempfile::TempDir, kind: Kind, of: &'a str) -> Self {
        let diary = Diary::of(folder.path()).text();
        Account { diary, kind, of }
    }

    /// Checks the promises of a job with a journal. It was over when its diary was this one, and was
    /// then run once more.
    pub(super) fn check(&self, over: &str) {
        let (of, again) = (self.of, &self.diary[over.len()..]);
        let is_idle = !again.contains("did") && !again.contains("done");
        assert!(is_idle, "{of}: {again}");
        let Sets {
            accepted,
            did,
            done,
        } = self.read(over);
        let lost: Vec<_> = accepted.difference(&did).collect();
        assert!(lost.is_empty(), "{of}: lost {lost:?}: {over}");
        if !matches!(
            self.kind,
            Kind::Together | Kind::Taken | Kind::Loops | Kind::Called
        ) {
            assert!((0..OWN).all(|n| did.contains(&n)), "{of}: {over}");
        }
        if self.kind == Kind::Together {
            // The order of one producer holds, so what was lost with it are the last ones.
            let all = MANY.filter(|n| *n != REFUSED);
            assert!(all.take(did.len()).eq(did.iter().copied()), "{of}: {did:?}");
        }
        // Each has one terminal record, even if a kill came between a commit and its event.
        let expected = format!("joined {} 0", did.len());
        assert_eq!(over.lines().last(), Some(&*expected), "{of}: {over}");
        assert!(done.is_subset(&did), "{of}: {over}");
    }

    /// Checks the promises of a map, of which nothing is kept. If it came to its end, all results
    /// have come.
    pub(super) fn check_results(&self, is_over: bool) {
        let Sets { did, done, .. } = self.read(&self.diary);
        let of = self.of;
        assert!(done.is_subset(&did), "{of}: {}", self.diary);
        if is_over {
            assert!(done.into_iter().eq(0..MAPPED), "{of}: {}", self.diary);
        }
    }

    fn read(&self, diary: &str) -> Sets {
        let of = self.of;
        let mut sets = Sets::default();
        for line in diary.lines() {
            let (word, rest) = line.split_once(' ').unwrap();
            let item = rest.split(' ').next().unwrap().parse().unwrap();
            match word {
                "accepted" => assert!(sets.accepted.insert(item), "{of}: {diary}"),
                "did" => {
                    // Another copy may have come to its end before it was stopped.
                    let may_be = self.kind == Kind::Copied || !sets.done.contains(&item);
                    assert!(may_be, "{of}: done again: {diary}");
                    sets.did.insert(item);
                }
                "done" => assert!(sets.done.insert(item), "{of}: told twice: {diary}"),
                "dead" => panic!("{of}: nothing dies of one kill: {diary}"),
                _ => {}
            }
        }
        sets
    }
}
