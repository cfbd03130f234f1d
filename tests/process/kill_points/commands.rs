//! Runs of commands. With a journal each attempt has files of its own; without one small output goes
//! into a log, and only large output keeps its files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where a run keeps output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeping {
    /// In files, beside a journal.
    Files,
    Log,
}

/// The points at which a role is killed.
pub(super) struct Scene {
    keeping: Keeping,
    role: &'static str,
    pub(super) points: &'static [&'static str],
}

/// Without a journal nothing outlives the run itself, so it is killed only where there is one.
pub(super) const SCENES: [Scene; 3] = [
    Scene {
        keeping: Keeping::Files,
        role: "worker",
        points: &["command: about to start", "output: in its files"],
    },
    Scene {
        keeping: Keeping::Log,
        role: "worker",
        points: &[
            "output: to be logged",
            "output: logged",
            "output: logged, and its files empty",
            "output: to be named",
            "output: named",
            "output: its files noted",
        ],
    },
    Scene {
        keeping: Keeping::Files,
        role: "supervisor",
        points: &[
            "output: shown",
            "output: its files removed",
            "output: to be forgotten",
        ],
    },
];

const ITEMS: std::ops::RangeInclusive<u32> = 1..=6;

/// The one that writes more than goes into a log.
const LARGE: u32 = 4;

/// The command for an item. It says what it does, and what it did is in the folder.
const SCRIPT: &str = "echo $1 >> did; test $1 != 4 || printf '%020000d\\n' 0; echo out $1";

fn supervisor(keeping: Keeping, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.args(["-w", "2"]);
    if keeping == Keeping::Files {
        command.args(["--journal", "j"]);
    }
    command
        .args(["--", "sh", "-c", SCRIPT, "_", ":::"])
        .args(ITEMS.map(|n| n.to_string()))
        .current_dir(folder)
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Kills a role at each of its points, as often as it passes them.
pub(super) fn kill_each_time(scene: &Scene) {
    for point in scene.points {
        super::kill_at_times(point, 1.., |n| is_killed_at(scene, point, n));
    }
}

/// Kills a run, and adds the user's later ones. Returns `false` if the point is not passed so often.
fn is_killed_at(scene: &Scene, point: &str, n: u64) -> bool {
    let Scene { keeping, role, .. } = *scene;
    let folder = tempfile::tempdir().unwrap();
    let run = |kill: Option<&str>| super::end_of(supervisor(keeping, folder.path()), kill);
    let mark = folder.path().join("killed");
    let kill = format!("{role}|{point}|{n}|{}", mark.display());
    let of = format!("{keeping:?}, {role}, {point}, {n}");
    let (is_fine, mut shown) = run(Some(&kill));
    let is_killed = mark.exists();
    if !is_fine {
        assert!(is_killed && role == "supervisor", "{of}: {shown:?}");
        let (is_fine, more) = run(None);
        assert!(is_fine, "after {of}");
        shown.extend(more);
    }
    if keeping == Keeping::Files {
        let did = || std::fs::read_to_string(folder.path().join("did")).unwrap();
        let before = did();
        assert_eq!(run(None), (true, Vec::new()), "after {of}");
        assert_eq!(did(), before, "after {of}");
    }
    check(&shown, role == "supervisor" && is_killed, &of);
    is_killed
}

/// Checks that all output was shown, each once and whole. After a kill of the run itself some may be
/// shown again.
fn check(shown: &[String], may_be_again: bool, of: &str) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    shown
        .iter()
        .for_each(|line| *times.entry(line).or_default() += 1);
    let large = "0".repeat(20_000);
    let mut expected: Vec<String> = ITEMS.map(|n| format!("out {n}")).collect();
    expected.push(large.clone());
    expected.sort_unstable();
    assert!(times.keys().eq(&expected), "{of}: {shown:?}");
    let most = if may_be_again { 2 } else { 1 };
    assert!(
        times.values().all(|times| *times <= most),
        "{of}: {shown:?}"
    );
    let last = format!("out {LARGE}");
    let is_whole = |at: usize| shown.get(at + 1) == Some(&last);
    let mut parts = (0..shown.len()).filter(|at| shown[*at] == large);
    assert!(parts.all(is_whole), "{of}: {shown:?}");
}
