//! Programs with a wrong setup end in a clear error, never in a hang or a fork bomb.

#![allow(clippy::print_stderr, reason = "a test that cannot be done says so")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::libc;

use crate::support::Run;

crate::trials! {
    a_forgotten_serve_is_an_error_and_starts_nothing =>
        says("serves nothing", "dishrack::serve was not called"),
    a_serve_forgotten_in_the_worker_only_ends_in_no_workers_left =>
        says("never serves", "exited with code 0"),
    a_function_that_is_not_served_is_named,
    a_closure_that_captures_is_refused => says("captures", "captures variables"),
    a_program_that_would_not_learn_of_ends_is_told =>
        says("ignores SIGCHLD", "SIGCHLD: is ignored by this program"),
    a_system_without_proc_is_told_once,
    a_system_without_dev_null_is_told_once,
    a_refused_system_call_is_named_once,
}

pub(crate) fn says(play: &str, expected: &str) {
    let mut run = Run::play(play);
    let line = run.line().unwrap_or_default();
    assert!(line.contains(expected), "{play}: {line}");
    assert_eq!(run.exit().code(), Some(0));
}

fn a_function_that_is_not_served_is_named() {
    says(
        "not registered",
        "is not served: name it in dishrack::serve",
    );
}

/// Returns the lines on stderr of a run that must end with 2.
fn complaints(command: &mut Command) -> Vec<String> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    told.lines().map(String::from).collect()
}

const RUN: [&str; 6] = ["-w", "3", "--", "true", ":::", "a"];

/// Returns a run with an empty folder in this place, or `None` if the system does not permit it.
fn without(folder: &str) -> Option<Vec<String>> {
    let supervisor = env!("CARGO_BIN_EXE_supervisor");
    let mount = format!("mount -t tmpfs none {folder}");
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]);
        command.args(["sh", "-c", script, supervisor]).args(RUN);
        command
    };
    if !unshare(&mount)
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("skipped: nothing can be mounted on {folder} here");
        return None;
    }
    Some(complaints(&mut unshare(&format!(
        "{mount} && exec \"$0\" \"$@\""
    ))))
}

fn a_system_without_proc_is_told_once() {
    if let Some(lines) = without("/proc") {
        let told =
            "supervisor: worker processes need /proc: /proc/self/exe: No such file or directory";
        assert!(lines.len() == 1 && lines[0].starts_with(told), "{lines:?}");
    }
}

fn a_system_without_dev_null_is_told_once() {
    if let Some(lines) = without("/dev") {
        let told = "supervisor: worker processes need /dev/null: No such file or directory";
        assert!(lines.len() == 1 && lines[0].starts_with(told), "{lines:?}");
    }
}

/// Makes the kernel refuse a system call with EPERM to this process and the programs that it
/// executes, like a container's profile. If a first argument is given, only with that.
fn refuse(call: libc::c_long, first_argument: Option<u32>) -> io::Result<()> {
    let load = |offset| (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let equals = |value, skipped| {
        (
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            skipped,
            value,
        )
    };
    let end = |with| (libc::BPF_RET | libc::BPF_K, 0, 0, with);
    let errno = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let call = u32::try_from(call).map_err(io::Error::other)?;
    // seccomp_data: the call's number is at 0, and the first argument, little end first, at 16.
    let program = match first_argument {
        None => vec![load(0), equals(call, 1), end(errno)],
        Some(argument) => {
            let rest = [load(16), equals(argument, 1), end(errno)];
            [vec![load(0), equals(call, 3)], rest.to_vec()].concat()
        }
    };
    let program = [program, vec![end(libc::SECCOMP_RET_ALLOW)]].concat();
    let mut program: Vec<libc::sock_filter> = program
        .into_iter()
        .map(|(code, jt, jf, k)| libc::sock_filter {
            code: u16::try_from(code).expect("codes are small"),
            jt,
            jf,
            k,
        })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("it is short"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: system calls; the program is there until the kernel has copied it.
    unsafe {
        let none: libc::c_ulong = 0;
        let on: libc::c_ulong = 1;
        let filter = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, on, none, none, none) != 0
            || libc::prctl(libc::PR_SET_SECCOMP, filter, &raw const program) != 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn a_refused_system_call_is_named_once() {
    let death_signal = u32::try_from(libc::PR_SET_PDEATHSIG).unwrap();
    for (call, first, name) in [
        (libc::SYS_pidfd_open, None, "pidfd_open"),
        (libc::SYS_pidfd_send_signal, None, "pidfd_send_signal"),
        (libc::SYS_waitid, None, "waitid with a pidfd"),
        (
            libc::SYS_prctl,
            Some(death_signal),
            "prctl(PR_SET_PDEATHSIG)",
        ),
        (libc::SYS_memfd_create, None, "memfd_create"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
        command.args(RUN);
        // SAFETY: the parent waits for the exec with nothing but this thread's locks held, and the
        // allocator is there in the child of a fork.
        unsafe { command.pre_exec(move || refuse(call, first)) };
        let lines = complaints(&mut command);
        let told = format!(
            "supervisor: worker processes need the system call {name}: Operation not permitted"
        );
        assert!(lines.len() == 1 && lines[0].starts_with(&told), "{lines:?}");
    }
}
