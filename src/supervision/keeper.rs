//! The keeper: a small process that ends the workers' own children when their supervisor cannot.
//!
//! While a supervisor lives it kills the process group of a worker that has died, and a worker
//! whose supervisor has died kills its own. If both are killed at once, the kernel ends the
//! worker's own children, but not *their* children, which the keeper ends. It learns the groups by
//! a pipe from the supervisor, and when the pipe ends it kills them all and ends. It has a session
//! of its own, so that signals to the supervisor's group do not reach it, and no file of the run
//! but the pipe, and the two pipes of a job server's tokens if there is one: what the supervisor has
//! taken and left it gives back, when what ran for it has ended. If it dies it is started again.
//!
//! A group's number is not used again while a process is in the group, and the keeper acts the
//! moment the supervisor has gone. So a number that it knows is that group's, or unused.

use std::io::{self, PipeWriter, Write, pipe};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{chdir, setsid};
use rustix::fs::{OFlags, fcntl_setfl};

use crate::sys::program::{Handover, Image, Program};
use crate::sys::tokens::TokenPipe;
use crate::worker::keeper::{KEEPER_VARIABLE, TOKENS_VARIABLE};

/// The supervisor's end.
#[derive(Debug)]
pub(super) struct Keeper {
    groups: PipeWriter,
    pub(super) pid: u32,
}

impl Keeper {
    /// Executes this program again, or the workers', as the keeper of this process, which knows these
    /// groups at once.
    pub(super) fn start(
        image: Option<&Image>,
        groups: impl Iterator<Item = u32>,
        tokens: Option<&TokenPipe>,
    ) -> io::Result<Self> {
        let (told, pipe) = pipe()?;
        // A suspended keeper must not block the supervisor.
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        let mut keeper = Keeper {
            groups: pipe,
            pid: 0,
        };
        for group in groups {
            keeper.add(group)?;
        }
        let supervisor = std::process::id();
        let mut program = Program::of(image, format!("keeper of supervisor {supervisor}"));
        program
            .env(KEEPER_VARIABLE, supervisor.to_string())
            .stdin(told)
            .without_output();
        if let Some(tokens) = tokens {
            let [hand, shared] = tokens.for_keeper()?;
            program
                .env(TOKENS_VARIABLE, "stdout")
                .stdout(shared)
                .stderr(hand);
        }
        // SAFETY: only system calls are made.
        keeper.pid = unsafe {
            program.start(&mut Handover::new()?, || {
                setsid()?;
                // A suspended keeper could not act.
                set_pdeathsig(Signal::SIGCONT)?;
                Ok(chdir(c"/")?)
            })
        }?;
        Ok(keeper)
    }

    /// Adds a process group.
    pub(super) fn add(&mut self, group: u32) -> io::Result<()> {
        self.tell(group, 1)
    }

    /// Removes a process group, because its number may soon be another one's.
    pub(super) fn remove(&mut self, group: u32) -> io::Result<()> {
        self.tell(group, -1)
    }

    fn tell(&mut self, group: u32, sign: i32) -> io::Result<()> {
        let group = i32::try_from(group).map_err(io::Error::other)?;
        // The pipe takes so few bytes as a whole or not at all (pipe(7)).
        self.groups.write_all(&(sign * group).to_le_bytes())
    }
}
