//! Scripts with places, and what they print.

/// A script, and what it prints.
pub(super) type Context = (&'static str, Prints);

/// The output of a script, with the item in place of `{}`.
#[derive(Debug)]
pub(super) enum Prints {
    /// Any output that depends on the item.
    Something,
    Text(&'static str),
    /// The item without the newlines at its end, which no substitution keeps.
    Trimmed(&'static str),
}

use Prints::{Something, Text, Trimmed};

impl Prints {
    pub(super) fn expected(&self, item: &[u8]) -> Option<Vec<u8>> {
        let (text, is_trimmed) = match self {
            Something => return None,
            Text(text) => (text, false),
            Trimmed(text) => (text, true),
        };
        let mut item = item;
        while let Some(shorter) = item.strip_suffix(b"\n").filter(|_| is_trimmed) {
            item = shorter;
        }
        let parts: Vec<&[u8]> = text.split("{}").map(str::as_bytes).collect();
        Some(parts.join(item))
    }
}

/// The contexts in which a place is accepted.
pub(super) const ACCEPTED: &[Context] = &[
    // Words and quotes.
    ("printf '%s' {}", Text("{}")),
    ("printf '%s' \"{}\"", Text("{}")),
    ("printf '%s' '{}'", Text("{}")),
    ("printf '[%s]' a{}b{} --x={}", Text("[a{}b{}][--x={}]")),
    ("printf '%s' \"a'{}'b\"", Text("a'{}'b")),
    ("printf '%s' 'a\"{}\"b'", Text("a\"{}\"b")),
    ("printf '%s' \\\"{}\\\" \\\\{}", Text("\"{}\"\\{}")),
    ("printf '%s' \"\\\\{}\\\"\"", Text("\\{}\"")),
    ("printf '%s' '\\{}'", Text("\\{}")),
    ("printf '%s' ~{} x*{} {}~", Text("~{}x*{}{}~")),
    ("x=1; printf '%s' $x{}$x\"$x{}\"", Text("1{}11{}")),
    ("printf '%s' \"a$ {}$\"", Text("a$ {}$")),
    (
        "printf '%s' \\\n{} \"a\\\n{}\"; pri\\\nntf x",
        Text("{}a{}x"),
    ),
    // Substitutions.
    ("printf '%s' \"$(printf '%s' {})\"", Trimmed("{}")),
    ("printf '%s' \"$(printf '%s' \"{}\")\"", Trimmed("{}")),
    ("printf '%s' \"$(printf '%s' '{}')\"", Trimmed("{}")),
    (
        "printf '%s' \"a$(printf '%s' \"b$(printf '%s' \"c{}\" 'd')\")\"",
        Text("abc{}d"),
    ),
    ("printf '%s' \"$( (printf '%s' {}) )\"", Trimmed("{}")),
    ("x=`printf '%s' {}`; printf '%s' \"$x\"", Trimmed("{}")),
    ("x=`printf '%s' \"{}\"`; printf '%s' \"$x\"", Trimmed("{}")),
    ("printf '%s' \"`printf '%s' {}`\"", Trimmed("{}")),
    ("printf '%s' \"`printf '%s' '{}'`\"", Trimmed("{}")),
    (
        "printf '%s' \"$(printf '%s' \"`printf '%s' {}`\")\"",
        Trimmed("{}"),
    ),
    ("echo $(echo {}) `echo {}` >/dev/null", Text("")),
    (
        "printf '%s' \"$(case {} in a) b;; *) printf '%s' {};; esac)\"",
        Trimmed("{}"),
    ),
    ("printf '%s' \"$(printf x # ) ' {}\n)\"", Text("x")),
    // Parameters.
    ("x={}; printf '%s' \"$x\"", Text("{}")),
    ("x=\"{}\"; printf '%s' \"$x\"", Text("{}")),
    ("x='{}'; printf '%s' \"$x\"", Text("{}")),
    ("x=a{}b'{}'; printf '%s' \"$x\"", Text("a{}b{}")),
    ("x={} sh -c 'printf \"%s\" \"$x\"'", Text("{}")),
    ("export x={}; sh -c 'printf \"%s\" \"$x\"'", Text("{}")),
    ("readonly x=\"{}\"; printf '%s' \"$x\"", Text("{}")),
    ("printf '%s' \"${x:-{}}\"", Text("{}")),
    ("printf '%s' ${x:-{}}", Text("{}")),
    ("printf '%s' ${x-\"{}\"} ${x-'{}'}", Text("{}{}")),
    ("printf '%s' \"${x:=a{}}$x\"", Text("a{}a{}")),
    ("x=1; printf '%s' \"${x:+{}}\"", Text("{}")),
    ("printf '%s' \"${x:-$(printf '%s' {})}\"", Trimmed("{}")),
    ("printf '%s' \"${x:-${y:-{}}}\"", Text("{}")),
    ("x={}.c; printf '%s' \"${x#{}}\"", Text(".c")),
    ("x={}.c; printf '%s' ${x##{}}", Text(".c")),
    ("x={}.c; printf '%s' \"${x#\"{}\"}\"", Text(".c")),
    ("x=a.{}; printf '%s' \"${x%{}}\" ${x%%'{}'}", Text("a.a.")),
    ("x=ab; printf '%s' \"${#x}{}\" $#", Text("2{}0")),
    // Compound commands.
    (
        "for x in {} \"{}\"; do printf '%s,' \"$x\"; done",
        Text("{},{},"),
    ),
    ("for x in 1 2; do printf '%s' {}; done", Text("{}{}")),
    ("if [ -e {} ]; then printf '%s' {}; fi", Something),
    (
        "if test {} = {}; then :; elif [ \"{}\" ]; then :; fi",
        Something,
    ),
    ("case {} in {}) printf y;; *) printf n;; esac", Text("y")),
    ("case \"x{}\" in (x\"{}\") printf y;; esac", Text("y")),
    (
        "case xyz in '{}'|x{}) printf y;; *) printf n;; esac",
        Text("n"),
    ),
    ("{ printf '%s' {}; }; (printf '%s' {})", Text("{}{}")),
    ("f() { printf '%s' \"$1\"; }; f {}", Text("{}")),
    ("f() (printf '%s' {}); f other", Text("{}")),
    (
        "set -- a b; shift; printf '%s' {} \"$#$1$0\"",
        Text("{}1b/bin/sh"),
    ),
    (
        "printf '%s' {} | cat && printf '%s' {} & wait",
        Text("{}{}"),
    ),
    ("until printf '%s' {}; do :; done; ! false {}", Text("{}")),
    // Commands that run others, and take a program without the item in it.
    ("command printf '%s' {}", Text("{}")),
    ("exec printf '%s' {}", Text("{}")),
    ("env printf '%s' {}", Text("{}")),
    ("awk 'BEGIN { printf \"%s\", ARGV[1] }' {}", Text("{}")),
    ("sh -c 'printf \"%s\" \"$1\"' sh {}", Text("{}")),
    (
        "find . -prune -exec sh -c 'printf \"%s\" \"$1\"' sh {} \\;",
        // find has {} as well.
        Something,
    ),
    ("x={}; eval 'printf \"%s\" \"$x\"'", Text("{}")),
    ("x={}; trap 'printf \"%s\" \"$x\"' EXIT", Text("{}")),
    ("printf '%s' $(( {#} * 2 )); eval 'printf {#}'", Text("147")),
    ("{} --help >/dev/null 2>&1", Something),
    ("\"{}\"/x {} >/dev/null 2>&1", Something),
    ("cat ./{} | sh; cat <{} | sh", Something),
    ("perl -pi -e 1 -- {}; perl -e 1 -- {}", Something),
    ("sed -n p -- {}; sed s/a/b/ <{}", Something),
    ("flock lock printf '%s' {}", Text("{}")),
    ("find . -prune -exec printf '%s' {} +", Something),
    // Numbers.
    ("[ {} -eq 1 ]; [ {#} -lt {} ]; [ -t {} ]", Something),
    ("[ -n {} -a {} ]; [ {} -o {} ]; [ {} = a -a {} ]", Something),
    ("printf '%d' {}; ulimit -n {}; umask {}", Something),
    ("(exit {}); (shift {}); (set -{}); (set -o {})", Something),
    ("printf \"x{}\" {.}; printf -- {} {.}", Something),
    // Redirections and here-documents.
    ("printf x 2>&1 >{} </dev/null", Something),
    ("printf x >\"$PWD/a{}\"; cat < {}", Something),
    ("cat <<EOF\n{}\nEOF\n", Text("{}\n")),
    (
        "cat <<EOF\n\"{}\" '{}' $x \\$ # {}\nEOF\nprintf x",
        Text("\"{}\" '{}'  $ # {}\nx"),
    ),
    ("cat <<-EOF\n\ta{}\n\tEOF\n", Text("a{}\n")),
    ("cat <<A; cat <<B\n1{}\nA\n2{}\nB\n", Text("1{}\n2{}\n")),
    (
        "cat <<EOF | cat; printf '%s' {}\nx{}\nEOF\n",
        Text("x{}\n{}"),
    ),
    (
        "cat <<EOF\n$(printf '%s' {})`printf '%s' {}`\nEOF\n",
        Trimmed("{}{}\n"),
    ),
    ("cat <<EOF\n${x:-{}} ${x-a}\nEOF\n", Text("{} a\n")),
    (
        "cat <<'EOF'\n$(x \"`\nEOF\nprintf '%s' {}",
        Text("$(x \"`\n{}"),
    ),
    (
        "x=$(cat <<EOF\n{}\nEOF\n); printf '%s' \"$x\"",
        Trimmed("{}"),
    ),
    ("while read -r x; do :; done <<EOF\n{}\nEOF\n", Text("")),
    // Comments.
    (
        "printf x # {}\nprintf y # '{} \"\nprintf '%s' a#{}",
        Text("xya#{}"),
    ),
];
