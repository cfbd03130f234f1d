//! PURE: programs that run another one, which their arguments name. It does not know what that does.

use super::words::Word;

/// Returns a command's name without its folder, if it is known before the command runs.
pub(super) fn known(name: &Word) -> Option<Vec<u8>> {
    name.program().filter(|_| !name.has_pattern())
}

/// Returns `true` if a program runs another one that its arguments name.
pub(super) fn is_runner(program: &[u8]) -> bool {
    let others: [&[u8]; 47] = [
        b"busybox",
        b"bwrap",
        b"cgexec",
        b"chpst",
        b"chroot",
        b"conda",
        b"cpulimit",
        b"dbus-run-session",
        b"docker",
        b"dumb-init",
        b"eatmydata",
        b"entr",
        b"faketime",
        b"fakeroot",
        b"find",
        b"firejail",
        b"flock",
        b"gosu",
        b"gtime",
        b"kubectl",
        b"linux32",
        b"linux64",
        b"ltrace",
        b"nsenter",
        b"numactl",
        b"parallel",
        b"perf",
        b"podman",
        b"prlimit",
        b"proot",
        b"proxychains4",
        b"rlwrap",
        b"setarch",
        b"setpriv",
        b"setuidgid",
        b"softlimit",
        b"ssh-agent",
        b"strace",
        b"su-exec",
        b"toybox",
        b"torsocks",
        b"unbuffer",
        b"unshare",
        b"valgrind",
        b"watch",
        b"xargs",
        b"xvfb-run",
    ];
    is_plain_runner(program) || others.contains(&program)
}

/// Returns `true` for runners with only options, variables and numbers before the other's name.
pub(super) fn is_plain_runner(program: &[u8]) -> bool {
    let runners: [&[u8]; 13] = [
        b"chrt",
        b"doas",
        b"env",
        b"exec",
        b"ionice",
        b"nice",
        b"nohup",
        b"setsid",
        b"stdbuf",
        b"sudo",
        b"systemd-run",
        b"taskset",
        b"timeout",
    ];
    runners.contains(&program)
}

/// Returns `true` if a command follows this argument of `find`.
pub(super) fn is_order_of_find(word: &Word) -> bool {
    let orders: [&[u8]; 4] = [b"-exec", b"-execdir", b"-ok", b"-okdir"];
    let text = word.literal();
    text.is_some_and(|text| orders.contains(&&text[..]))
}
