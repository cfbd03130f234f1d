//! Scripts with places, and what they print.

/// A script, and what it prints.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) script: &'static str,
    prints: Prints,
}

/// The output of a script, with the item in place of `{}`.
#[derive(Debug)]
enum Prints {
    /// Any output that depends on the item.
    Something,
    Text(&'static str),
    /// The item without the newlines at its end, which no substitution keeps.
    Trimmed(&'static str),
}

use Prints::{Something, Text, Trimmed};

impl Context {
    pub(super) fn expected(&self, item: &[u8]) -> Option<Vec<u8>> {
        let (text, is_trimmed) = match self.prints {
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

const fn prints(script: &'static str, prints: Prints) -> Context {
    Context { script, prints }
}

/// The contexts in which a place is accepted.
pub(super) const ACCEPTED: &[Context] = &[
    // Words and quotes.
    prints("printf '%s' {}", Text("{}")),
    prints("printf '%s' \"{}\"", Text("{}")),
    prints("printf '%s' '{}'", Text("{}")),
    prints("printf '[%s]' a{}b{} --x={}", Text("[a{}b{}][--x={}]")),
    prints("printf '%s' \"a'{}'b\"", Text("a'{}'b")),
    prints("printf '%s' 'a\"{}\"b'", Text("a\"{}\"b")),
    prints("printf '%s' \\\"{}\\\" \\\\{}", Text("\"{}\"\\{}")),
    prints("printf '%s' \"\\\\{}\\\"\"", Text("\\{}\"")),
    prints("printf '%s' '\\{}'", Text("\\{}")),
    prints("printf '%s' ~{} x*{} {}~", Text("~{}x*{}{}~")),
    prints("x=1; printf '%s' $x{}$x\"$x{}\"", Text("1{}11{}")),
    prints("printf '%s' \"a$ {}$\"", Text("a$ {}$")),
    prints(
        "printf '%s' \\\n{} \"a\\\n{}\"; pri\\\nntf x",
        Text("{}a{}x"),
    ),
    // Substitutions.
    prints("printf '%s' \"$(printf '%s' {})\"", Trimmed("{}")),
    prints("printf '%s' \"$(printf '%s' \"{}\")\"", Trimmed("{}")),
    prints("printf '%s' \"$(printf '%s' '{}')\"", Trimmed("{}")),
    prints(
        "printf '%s' \"a$(printf '%s' \"b$(printf '%s' \"c{}\" 'd')\")\"",
        Text("abc{}d"),
    ),
    prints("printf '%s' \"$( (printf '%s' {}) )\"", Trimmed("{}")),
    prints("x=`printf '%s' {}`; printf '%s' \"$x\"", Trimmed("{}")),
    prints("x=`printf '%s' \"{}\"`; printf '%s' \"$x\"", Trimmed("{}")),
    prints("printf '%s' \"`printf '%s' {}`\"", Trimmed("{}")),
    prints("printf '%s' \"`printf '%s' '{}'`\"", Trimmed("{}")),
    prints(
        "printf '%s' \"$(printf '%s' \"`printf '%s' {}`\")\"",
        Trimmed("{}"),
    ),
    prints("echo $(echo {}) `echo {}` >/dev/null", Text("")),
    prints(
        "printf '%s' \"$(case {} in a) b;; *) printf '%s' {};; esac)\"",
        Trimmed("{}"),
    ),
    prints("printf '%s' \"$(printf x # ) ' {}\n)\"", Text("x")),
    // Parameters.
    prints("x={}; printf '%s' \"$x\"", Text("{}")),
    prints("x=\"{}\"; printf '%s' \"$x\"", Text("{}")),
    prints("x='{}'; printf '%s' \"$x\"", Text("{}")),
    prints("x=a{}b'{}'; printf '%s' \"$x\"", Text("a{}b{}")),
    prints("x={} sh -c 'printf \"%s\" \"$x\"'", Text("{}")),
    prints("export x={}; sh -c 'printf \"%s\" \"$x\"'", Text("{}")),
    prints("readonly x=\"{}\"; printf '%s' \"$x\"", Text("{}")),
    prints("printf '%s' \"${x:-{}}\"", Text("{}")),
    prints("printf '%s' ${x:-{}}", Text("{}")),
    prints("printf '%s' ${x-\"{}\"} ${x-'{}'}", Text("{}{}")),
    prints("printf '%s' \"${x:=a{}}$x\"", Text("a{}a{}")),
    prints("x=1; printf '%s' \"${x:+{}}\"", Text("{}")),
    prints("printf '%s' \"${x:-$(printf '%s' {})}\"", Trimmed("{}")),
    prints("printf '%s' \"${x:-${y:-{}}}\"", Text("{}")),
    prints("x={}.c; printf '%s' \"${x#{}}\"", Text(".c")),
    prints("x={}.c; printf '%s' ${x##{}}", Text(".c")),
    prints("x={}.c; printf '%s' \"${x#\"{}\"}\"", Text(".c")),
    prints("x=a.{}; printf '%s' \"${x%{}}\" ${x%%'{}'}", Text("a.a.")),
    prints("x=ab; printf '%s' \"${#x}{}\" $#", Text("2{}0")),
    // Compound commands.
    prints(
        "for x in {} \"{}\"; do printf '%s,' \"$x\"; done",
        Text("{},{},"),
    ),
    prints("for x in 1 2; do printf '%s' {}; done", Text("{}{}")),
    prints("if [ -e {} ]; then printf '%s' {}; fi", Something),
    prints(
        "if test {} = {}; then :; elif [ \"{}\" ]; then :; fi",
        Something,
    ),
    prints("case {} in {}) printf y;; *) printf n;; esac", Text("y")),
    prints("case \"x{}\" in (x\"{}\") printf y;; esac", Text("y")),
    prints(
        "case xyz in '{}'|x{}) printf y;; *) printf n;; esac",
        Text("n"),
    ),
    prints("{ printf '%s' {}; }; (printf '%s' {})", Text("{}{}")),
    prints("f() { printf '%s' \"$1\"; }; f {}", Text("{}")),
    prints("f() (printf '%s' {}); f other", Text("{}")),
    prints(
        "set -- a b; shift; printf '%s' {} \"$#$1$0\"",
        Text("{}1b/bin/sh"),
    ),
    prints(
        "printf '%s' {} | cat && printf '%s' {} & wait",
        Text("{}{}"),
    ),
    prints("until printf '%s' {}; do :; done; ! false {}", Text("{}")),
    // Commands that run others, and take a program without the item in it.
    prints("command printf '%s' {}", Text("{}")),
    prints("exec printf '%s' {}", Text("{}")),
    prints("env printf '%s' {}", Text("{}")),
    prints("awk 'BEGIN { printf \"%s\", ARGV[1] }' {}", Text("{}")),
    prints("sh -c 'printf \"%s\" \"$1\"' sh {}", Text("{}")),
    prints(
        "find . -prune -exec sh -c 'printf \"%s\" \"$1\"' sh {} \\;",
        // find has {} as well.
        Something,
    ),
    prints("x={}; eval 'printf \"%s\" \"$x\"'", Text("{}")),
    prints("x={}; trap 'printf \"%s\" \"$x\"' EXIT", Text("{}")),
    prints("printf '%s' $(( {#} * 2 )); eval 'printf {#}'", Text("147")),
    prints("{} --help >/dev/null 2>&1", Something),
    prints("\"{}\"/x {} >/dev/null 2>&1", Something),
    prints("cat ./{} | sh; cat <{} | sh", Something),
    prints("perl -pi -e 1 -- {}; perl -e 1 -- {}", Something),
    prints("sed -n p -- {}; sed s/a/b/ <{}", Something),
    prints("flock lock printf '%s' {}", Text("{}")),
    prints("find . -prune -exec printf '%s' {} +", Something),
    // Numbers.
    prints("[ {} -eq 1 ]; [ {#} -lt {} ]; [ -t {} ]", Something),
    prints("[ -n {} -a {} ]; [ {} -o {} ]; [ {} = a -a {} ]", Something),
    prints("printf '%d' {}; ulimit -n {}; umask {}", Something),
    prints("(exit {}); (shift {}); (set -{}); (set -o {})", Something),
    prints("printf \"x{}\" {.}; printf -- {} {.}", Something),
    // Redirections and here-documents.
    prints("printf x 2>&1 >{} </dev/null", Something),
    prints("printf x >\"$PWD/a{}\"; cat < {}", Something),
    prints("cat <<EOF\n{}\nEOF\n", Text("{}\n")),
    prints(
        "cat <<EOF\n\"{}\" '{}' $x \\$ # {}\nEOF\nprintf x",
        Text("\"{}\" '{}'  $ # {}\nx"),
    ),
    prints("cat <<-EOF\n\ta{}\n\tEOF\n", Text("a{}\n")),
    prints("cat <<A; cat <<B\n1{}\nA\n2{}\nB\n", Text("1{}\n2{}\n")),
    prints(
        "cat <<EOF | cat; printf '%s' {}\nx{}\nEOF\n",
        Text("x{}\n{}"),
    ),
    prints(
        "cat <<EOF\n$(printf '%s' {})`printf '%s' {}`\nEOF\n",
        Trimmed("{}{}\n"),
    ),
    prints("cat <<EOF\n${x:-{}} ${x-a}\nEOF\n", Text("{} a\n")),
    prints(
        "cat <<'EOF'\n$(x \"`\nEOF\nprintf '%s' {}",
        Text("$(x \"`\n{}"),
    ),
    prints(
        "x=$(cat <<EOF\n{}\nEOF\n); printf '%s' \"$x\"",
        Trimmed("{}"),
    ),
    prints("while read -r x; do :; done <<EOF\n{}\nEOF\n", Text("")),
    // Comments.
    prints(
        "printf x # {}\nprintf y # '{} \"\nprintf '%s' a#{}",
        Text("xya#{}"),
    ),
];
