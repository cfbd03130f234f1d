//! The data of a server at one time, to come back with.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::redis_server::{Server, answer};

/// The folder of a durable server's data.
const DATA: &str = "appendonlydir";

pub(crate) struct Backup(TempDir);

impl Backup {
    /// Keeps the data of a durable server.
    pub(crate) fn of(server: &Server) -> Backup {
        let folder = tempfile::tempdir().unwrap();
        copy(&server.folder().join(DATA), folder.path());
        Backup(folder)
    }

    /// Kills the server, and starts it again with this data.
    pub(crate) fn comes_back_on(&self, server: &Server) {
        server.kill();
        fs::remove_dir_all(server.folder().join(DATA)).unwrap();
        copy(&self.0.path().join(DATA), server.folder());
        server.restart();
    }
}

/// Copies a folder into another one.
fn copy(from: &Path, into: &Path) {
    let mut command = Command::new("cp");
    command.arg("-a").args([from, into]);
    answer(command).unwrap();
}
