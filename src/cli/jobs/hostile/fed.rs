//! Places that reach a command's stdin: those that may be run there are refused, and no others.

use super::{Chance, MADE, Shell, clear, read, values};

/// Places that may reach a command that runs its stdin.
const FED: &[&str] = &[
    // A here-document or here-string of a compound command.
    "{ sh; } <<E\n{}\nE\n",
    "(sh) <<E\n{}\nE\n",
    "if true; then sh; fi <<E\n{}\nE\n",
    "while sh; do break; done <<E\n{}\nE\n",
    "until ! sh; do break; done <<E\n{}\nE\n",
    "for x in 1; do sh; done <<E\n{}\nE\n",
    "case \"$(sh)\" in *) :;; esac <<E\n{}\nE\n",
    "{ cat | sh; } <<E\n{}\nE\n",
    "{ python3; } <<E\n{}\nE\n",
    "(perl) <<E\n{}\nE\n",
    "{ sh; } <<<{}",
    "{ { (sh); }; } <<E\n{}\nE\n",
    "{ cat <<E; } | sh\n{}\nE\n",
    "{ cat <<E\n{}\nE\n} | sh",
    "cat <<E |\n{}\nE\nsh",
    "f() { sh; }; f <<E\n{}\nE\n",
    "f() { sh; }; echo {} | f",
    "x=$(sh) <<E\n{}\nE\n",
    "echo \"`sh`\" <<E\n{}\nE\n",
    // A pipe into one.
    "echo {} | (sh)",
    "echo {} | { true; sh; }",
    "echo {} | while true; do sh; break; done",
    "echo {} | (eval \"$(cat)\")",
    "echo {} | if true; then :; else sh; fi",
    "echo {} | case x in x) sh;; esac",
    "{ echo {}; } | { cat; } | { sh; }",
    "if true; then echo {}; fi | sh",
    "case x in x) echo {};; esac | sh",
    // Substitutions that read it.
    "printf %s {} | sh -c \"$(cat)\"",
    "echo {} | echo \"$(sh)\"",
    "echo {} | echo `sh`",
    "echo {} | echo \"`echo \"$(sh)\"`\"",
    "echo {} | echo `echo \\`sh\\``",
    "echo {} | x=$(sh)",
    "echo {} | cat <<E\n$(sh)\nE\n",
    // Scripts within scripts.
    "printf %s {} | sh -c sh",
    "printf %s {} | sh -c 'exec sh'",
    "printf %s {} | sh -c 'sh -c \"sh\"'",
    "sh -c '. /dev/stdin' <<E\n{}\nE\n",
    "echo {} | ssh host sh",
    "echo {} | ssh host 'read -r x; eval \"$x\"'",
    "echo {} | sh -c \"$x\"",
    // Files that stay open.
    "exec <<E\n{}\nE\nsh",
    "exec 3<<E\n{}\nE\nsh <&3",
    "command exec <<E\n{}\nE\n{ sh; }",
    "sh /dev/fd/3 3<<E\n{}\nE\n",
    "exec <<<{}\nsh",
    // Other names of stdin.
    "echo {} | sh //dev/stdin",
    "echo {} | sh /dev/./stdin",
    "echo {} | sh /dev/std?n",
    "echo {} | sh /dev/../dev/stdin",
    "echo {} | sh /proc/self/fd/0",
    "echo {} | sh \"$x\"",
    "echo {} | awk -f -",
    "echo {} | awk -f/dev/stdin x",
    "echo {} | sed -f - x",
    "echo {} | sed --file=- x",
    "echo {} | sed --fil - x",
    "echo {} | . /dev/stdin",
    // Other programs that run what they read.
    "echo {} | su",
    "echo {} | su root",
    "echo {} | unshare",
    "echo {} | script x",
    "echo {} | parallel",
    "echo {} | /lib64/ld-linux-x86-64.so.2 /bin/sh",
    "echo {} | sudo -s",
    "echo {} | sudo sh",
    "echo {} | env sh",
    "echo {} | env FOO=1 -i nice -n 5 sh",
    "echo {} | busybox sh",
    "echo {} | ed",
    "echo {} | python3 -i x.py",
    "make -f - <<E\n{}\nE\n",
    "make -f- <<E\n{}\nE\n",
    "make --file=/dev/stdin <<E\n{}\nE\n",
    // Names that are not known.
    "echo {} | ${SHELL:-/bin/sh}",
    "echo {} | $(which sh)",
    "echo {} | \"$x\"",
    "echo {} | /bin/[s]h",
    "echo {} | env \"$x\"",
    "echo {} | sudo -u root \"$x\"",
    "echo {} | command \"$x\"",
    // xargs.
    "echo {} | xargs -0I% sh -c 'echo %'",
    "echo {} | xargs -rI% sh -c 'echo %'",
    "echo {} | xargs -i% sh -c 'echo %'",
    "echo {} | xargs --replace=% sh -c 'echo %'",
    "echo {} | xargs --repl=% sh -c 'echo %'",
    "echo {} | xargs -I % sh -c 'echo %'",
    "echo {} | xargs python3 -c",
    "echo {} | xargs su root -c",
    "echo {} | xargs env",
    "echo {} | xargs sh",
    "echo {} | xargs sed",
    "echo {} | xargs perl -ne 'print'",
    "echo {} | xargs find",
    "echo {} | xargs \"$x\"",
    "echo {} | xargs -n 1 xargs sh",
    "echo {} | xargs sh -c '\"$@\"' sh",
    "echo {} | sudo xargs sh",
    "printf '%s\\0' {} | xargs -0 perl -ne print --",
    // Names of files come into complaints, lists and what is not read as it seems.
    "cat {} 2>&1 | sh",
    "cat <{} 2>/dev/stdout | sh",
    "{ cat <{}; } 2>&1 | sh",
    "exec 2>&1; cat {} | sh",
    "cat <{} 2>{}/dev/null | sh",
    "cat <{} 3>&1 2>&3 | sh",
    "cat {} {.} | sh",
    "gunzip -l {} | sh",
    "zcat -$x {} | sh",
    "cat() { echo \"$1\"; }; cat {} | sh",
    "cat \"$(sh <<E\n{}\nE\n)\" | sh",
    "cat <<<{} | sh",
    "cat <<E {} | sh\n{}\nE\n",
    "cat \"$x${y:-{}}\" | sh",
    "sudo cat {} | sh",
    "ls {} | sh",
    // Found later.
    "echo {} | perl -Mstrict",
    "echo {} | perl -F,",
    "echo {} | perl -w",
    "echo {} | find . -exec grep sh x \\; -exec sh \\;",
    "echo {} | find . -exec \"$x\" \\;",
    "echo {} | find . -ok sh \\;",
    "echo {} | sudo find . -exec env sh \\;",
    "echo {} | socat - EXEC:sh",
    "echo {} | socat - \"$x\"",
    "echo {} | valgrind -q sh",
    "echo {} | gosu x sh",
    "echo {} | node --interactive x.js",
];

#[test]
fn no_place_reaches_a_command_that_may_run_its_stdin() {
    let taken = FED.iter().filter_map(|script| match read(script) {
        Err(why) if why.contains("script that is read from stdin") => None,
        other => Some(format!("{script:?}: {:?}", other.map(|_| "taken"))),
    });
    let taken: Vec<String> = taken.collect();
    assert!(taken.is_empty(), "{}:\n{}", taken.len(), taken.join("\n"));
}

/// Commands that run their input, or pass it to one that does.
const READERS: [&str; 20] = [
    "sh",
    "sh -s",
    "sh -",
    "exec sh",
    "command sh",
    "env X=1 sh",
    "busybox sh",
    ". /dev/stdin",
    "eval \"$(cat)\"",
    "eval `cat`",
    "sh -c \"$(cat)\"",
    "sh -c sh",
    "sh -c 'cat | sh'",
    "sh /dev/fd/0",
    "sh /dev/fd/3",
    "\"${S:-sh}\"",
    "$(echo sh)",
    "xargs -0 sh -c",
    "xargs -I% sh -c %",
    "{ IFS= read -r l; eval \"$l\"; }",
];

/// Commands that run neither their input nor their arguments.
const HARMLESS: [&str; 17] = [
    "cat",
    "cat",
    "true",
    "false",
    "echo {}",
    "echo {}",
    "printf '%s\\n' {} x",
    "cat {}",
    "cat <{} 2>/dev/null",
    "cat {} 2>&1",
    "echo \"{}\"",
    "sort",
    "grep touch",
    "sh -c 'cat' sh {}",
    "read -r k",
    "cat <&3",
    "sh -c :",
];

/// Makes scripts at random, in which something is fed, and something runs what it reads.
struct Scripts {
    chance: Chance,
    /// The number of here-documents that wait for a newline.
    waiting: usize,
}

impl Scripts {
    fn newline(&mut self) -> String {
        let bodies = ["{}", "x {}", "x\n{}", "$(sh)", "$(echo {})"];
        let mut text = "\n".to_owned();
        for _ in 0..std::mem::take(&mut self.waiting) {
            text.push_str(self.chance.of(&bodies));
            text.push_str("\nE\n");
        }
        text
    }

    /// Returns a piece that may stand before a `)` or a backquote: no here-document waits there.
    fn closed(&mut self, depth: usize) -> String {
        let outer = std::mem::take(&mut self.waiting);
        let mut text = self.list(depth);
        if self.waiting > 0 {
            text.push_str(&self.newline());
        }
        self.waiting = outer;
        text
    }

    fn list(&mut self, depth: usize) -> String {
        let mut text = self.pipeline(depth);
        for _ in 0..self.chance.below(3) {
            match self.chance.below(5) {
                0 | 1 => text.push_str(&self.newline()),
                2 => text.push_str(" && "),
                3 => text.push_str(" || "),
                _ => text.push_str("; "),
            }
            text.push_str(&self.pipeline(depth));
        }
        text
    }

    fn pipeline(&mut self, depth: usize) -> String {
        let mut text = self.command(depth);
        for _ in 0..self.chance.below(3) {
            text.push_str(" | ");
            if self.chance.below(6) == 0 {
                text.push_str(&self.newline());
            }
            text.push_str(&self.command(depth));
        }
        text
    }

    fn command(&mut self, depth: usize) -> String {
        let is_simple = depth == 0 || self.chance.below(2) == 0;
        let text = match is_simple {
            true if self.chance.below(3) == 0 => self.chance.of(&READERS).to_owned(),
            true => self.chance.of(&HARMLESS).to_owned(),
            false => self.compound(depth - 1),
        };
        match self.chance.below(12) {
            0 | 1 => {
                self.waiting += 1;
                format!("{text} <<E")
            }
            2 => {
                self.waiting += 1;
                format!("{text} 3<<E")
            }
            3 => format!("{text} <&3"),
            4 => {
                self.waiting += 1;
                let order = self.chance.of(&["exec <<E", "exec 3<<E", "exec <&3 3<<E"]);
                let newline = self.newline();
                format!("{order}{newline}{text}")
            }
            _ => text,
        }
    }

    fn compound(&mut self, depth: usize) -> String {
        match self.chance.below(11) {
            0 => format!("{{ {}; }}", self.list(depth)),
            1 => format!("( {})", self.closed(depth)),
            2 => format!("if {}; then {}; fi", self.list(depth), self.list(depth)),
            3 => {
                let (condition, body) = (self.list(depth), self.list(depth));
                format!("while {condition}; do {body}; break; done")
            }
            4 => format!("for i in 1 2; do {}; done", self.list(depth)),
            5 => {
                let word = self.closed(depth);
                format!("case \"$({word})\" in x) ;; *) {};; esac", self.list(depth))
            }
            6 => format!("x=$( {})", self.closed(depth)),
            7 => format!("echo \"$( {})\"", self.closed(depth)),
            8 => format!("echo `{}`", self.closed(depth)),
            9 => format!("! {{ {}; }}", self.list(depth)),
            _ => format!("f() {{ {}; }}; f", self.list(depth)),
        }
    }
}

/// SCRIPTS=20000 tries more, and another SEED others.
#[test]
fn no_fed_item_is_run_in_scripts_made_at_random() {
    let given = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let mut scripts = Scripts {
        chance: Chance(given("SEED").unwrap_or(5)),
        waiting: 0,
    };
    let shells = [Shell::Dash, Shell::Bash, Shell::Busybox];
    let there = shells.into_iter().filter(|shell| shell.is_there());
    let shells: Vec<Shell> = there.collect();
    let folder = tempfile::tempdir().unwrap();
    let items: [&[u8]; 4] = [
        b"touch PWNED",
        b"\ntouch PWNED\n",
        b";touch PWNED;",
        b"$(touch PWNED)",
    ];
    let tries = given("SCRIPTS").map_or(100, |tries| usize::try_from(tries).unwrap());
    let (mut tried, mut refused, mut found) = (0_usize, 0, Vec::new());
    while tried < tries {
        let mut script = scripts.list(3);
        script.push_str(&scripts.newline());
        let has_reader = READERS.iter().any(|reader| script.contains(reader));
        if !script.contains("{}") || !has_reader {
            continue;
        }
        let Ok(readable) = read(&script) else {
            refused += 1;
            continue;
        };
        tried += 1;
        for (shell, at) in shells.iter().zip(tried..) {
            let item = items[at % items.len()];
            let words = readable.words(values(item)).unwrap();
            shell.run(&words[1..], folder.path());
            if clear(folder.path()) {
                let item = item.escape_ascii();
                found.push(format!("{shell:?}, {script:?}, \"{item}\" makes {MADE}"));
            }
        }
    }
    assert!(refused > tries, "only {refused} were refused");
    assert!(found.is_empty(), "{}:\n{}", found.len(), found.join("\n"));
}
