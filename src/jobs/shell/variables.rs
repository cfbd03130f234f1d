//! PURE: variables whose values are evaluated. It does not know what a script sets.

/// Returns `true` for variables whose value bash takes for arithmetic, or shells and other programs
/// take for a script, a command or options.
pub(super) fn is_special(name: &[u8]) -> bool {
    let special: [&[u8]; 42] = [
        b"BASHPID",
        b"BASH_ARGV0",
        b"BASH_COMPAT",
        b"BASH_ENV",
        b"BASH_SUBSHELL",
        b"EDITOR",
        b"ENV",
        b"EPOCHREALTIME",
        b"EPOCHSECONDS",
        b"FUNCNEST",
        b"GIT_ASKPASS",
        b"GIT_EDITOR",
        b"GIT_EXTERNAL_DIFF",
        b"GIT_PAGER",
        b"GIT_PROXY_COMMAND",
        b"GIT_SEQUENCE_EDITOR",
        b"GIT_SSH_COMMAND",
        b"HISTCMD",
        b"IFS",
        b"LESSCLOSE",
        b"LESSOPEN",
        b"LINENO",
        b"MAKEFLAGS",
        b"MANPAGER",
        b"NODE_OPTIONS",
        b"OPTIND",
        b"PAGER",
        b"PERL5DB",
        b"PERL5OPT",
        b"PROMPT_COMMAND",
        b"PS0",
        b"PS1",
        b"PS2",
        b"PS3",
        b"PS4",
        b"RANDOM",
        b"RSYNC_RSH",
        b"RUBYOPT",
        b"SECONDS",
        b"SRANDOM",
        b"TAR_OPTIONS",
        b"VISUAL",
    ];
    // It defines a function of bash.
    special.contains(&name) || name.starts_with(b"BASH_FUNC_")
}
