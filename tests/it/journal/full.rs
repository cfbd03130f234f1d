//! A full disk: items that cannot be kept are refused, nothing hangs, and the next run goes on.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};

use super::Place;
use crate::said::Said;

crate::trials!(
    a_file_that_may_not_grow_ends_the_run_and_loses_nothing,
    a_full_disk_ends_the_run_and_loses_nothing,
);

const DISHES: &str = "20000";

fn command(place: &Place) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    command.args(["--workers", "2", "--wash", "0", "--dry", "0", "--quiet"]);
    command.args(["--payload", "100", "--dishes", DISHES, "--mode", "threads"]);
    command.arg("--journal").arg(&place.path);
    command
}

/// Does the rest in the next run, with room.
fn goes_on(place: &Place) {
    let output = Said::from(command(place).output().unwrap());
    output.ends(0);
    let all = format!("{DISHES} of {DISHES} dishes done, 0 dead");
    output.tells(&all);
}

fn a_file_that_may_not_grow_ends_the_run_and_loses_nothing() {
    let place = Place::new();
    // The first run makes the file; the next ones get a little further each.
    for limit in [150_000, 300_000, 400_000] {
        let mut command = command(&place);
        // SAFETY: between fork and exec only system calls are made.
        unsafe {
            command.pre_exec(move || {
                signal(Signal::SIGXFSZ, SigHandler::SigIgn)?;
                setrlimit(Resource::RLIMIT_FSIZE, limit, limit)?;
                Ok(())
            });
        }
        let output = Said::from(command.output().unwrap());
        let error = &output.err;
        output.ends(2).tells("the journal failed");
        output.tells(&place.path.display().to_string());
        output.hides("panicked");
        assert!(
            !error.contains("retries"),
            "summed up and not kept: {error}"
        );
    }
    goes_on(&place);
}

/// The file system of its own has 400 KiB, if the system allows one.
fn a_full_disk_ends_the_run_and_loses_nothing() {
    let place = Place::new();
    let disk = place.folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=400k tmpfs {disk} || exit 99; \
         {supervisor} -w 2 --wash 0 --dry 0 -q --payload 100 --dishes {DISHES} --mode threads \
         --journal {disk}/journal; code=$?; cp {disk}/journal* {folder}; exit $code",
        disk = disk.display(),
        supervisor = env!("CARGO_BIN_EXE_supervisor"),
        folder = place.folder.path().display(),
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .output();
    let Ok(output) = output else { return };
    let output = Said::from(output);
    let error = &output.err;
    if !error.contains("supervisor: ") {
        // The system allows no such mount.
        return;
    }
    output.ends(2).tells("the disk is full");
    goes_on(&place);
}
