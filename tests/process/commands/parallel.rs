//! Command lines that GNU parallel and this program are given alike: the same bytes on stdout, the
//! same end, and the same rows of the job log but for their times. Where the two differ is known
//! here, and stands in the cookbook.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use libtest_mimic::{Completion, Trial};

use super::{Place, feed, has_program};
use crate::said::Said;

/// A difference that is wanted, as its row in the cookbook's table tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// In every line that fails.
    ExitCode,
    /// In every row whose command has such words.
    Quotes,
    Shell,
    NotFound,
    Lost,
    Attempts,
    TimeLimit,
    Tag,
    SecondPlace,
    SeveralInShell,
    QuotesInScript,
    MissingInScript,
}

impl Difference {
    const ALL: [Difference; 12] = [
        Difference::ExitCode,
        Difference::Quotes,
        Difference::Shell,
        Difference::NotFound,
        Difference::Lost,
        Difference::Attempts,
        Difference::TimeLimit,
        Difference::Tag,
        Difference::SecondPlace,
        Difference::SeveralInShell,
        Difference::QuotesInScript,
        Difference::MissingInScript,
    ];

    /// Returns the beginning of its row in the cookbook.
    fn row(self) -> &'static str {
        match self {
            Difference::ExitCode => "the exit code",
            Difference::Quotes => "quotes and newlines in `--joblog` and `--dry-run`",
            Difference::Shell => "`$HOME`, `*`, `;` in COMMAND",
            Difference::NotFound => "a command that is not there",
            Difference::Lost => "a command that is killed",
            Difference::Attempts => "`--retries` and `--joblog`",
            Difference::TimeLimit => "`--timeout` and `--joblog`",
            Difference::Tag => "`--tag` with several arguments",
            Difference::SecondPlace => "`{2}` where an item is one argument",
            Difference::SeveralInShell => "`{}` for several arguments in a script",
            Difference::QuotesInScript => "`{}` within quotes in a script",
            Difference::MissingInScript => "a `{2}` that an item lacks, in a script",
        }
    }
}

/// A command line for both.
#[derive(Debug, Clone, Copy)]
struct Line {
    options: &'static str,
    /// The command, and what follows it.
    rest: &'static str,
    input: &'static str,
    /// How ours is told to treat the command as parallel does.
    shell: Shell,
    known: Option<Known>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shell {
    /// The command has no word that a shell would change.
    Indifferent,
    /// Ours is given `--shell`.
    Both,
    /// Parallel is given `-q`.
    None,
}

/// What ours gives where it differs.
#[derive(Debug, Clone, Copy)]
struct Known {
    difference: Difference,
    out: &'static str,
    code: i32,
    /// `Seq Receive Exitval Signal` of each row.
    rows: &'static [&'static str],
}

const fn same(options: &'static str, rest: &'static str) -> Line {
    Line {
        options,
        rest,
        input: "",
        shell: Shell::Indifferent,
        known: None,
    }
}

impl Line {
    const fn fed(self, input: &'static str) -> Self {
        Line { input, ..self }
    }

    const fn by_shell(self) -> Self {
        Line {
            shell: Shell::Both,
            ..self
        }
    }

    const fn quoted(self) -> Self {
        Line {
            shell: Shell::None,
            ..self
        }
    }

    const fn but(
        self,
        difference: Difference,
        out: &'static str,
        code: i32,
        rows: &'static [&'static str],
    ) -> Self {
        let known = Known {
            difference,
            out,
            code,
            rows,
        };
        Line {
            known: Some(known),
            ..self
        }
    }
}

use Difference as D;

#[rustfmt::skip]
const LINES: &[Line] = &[
    // Places.
    same("-k", "echo {} ::: a b c"),
    same("-k", "echo ::: a b c"),
    same("", "echo ::: a b c d e f"),
    same("-k", "echo {.} ::: a.b c.d.e f"),
    same("-k", "echo {/} ::: x/y.z w"),
    same("-k", "echo {//} ::: x/y.z w"),
    same("-k", "echo {/.} ::: x/y.z w.v"),
    same("-k", "echo {#} ::: a b c"),
    same("-k", "echo {#}-{} ::: a b"),
    same("-k", "echo {} {} ::: a"),
    same("-k", "echo pre{}post ::: a b"),
    same("-k", "echo {1} ::: a b"),
    same("-k", "echo {-1} ::: a b"),
    same("-k", "echo {1.} {1/} {1//} {1/.} ::: x/y.z"),
    same("-j1 -k", "echo {%} ::: a b c"),
    same("-k", "printf '<%s>' {} ::: 'a  b' 'c;d' '$HOME' '*' 'it'\\''s' '\"' '\\'").quoted(),
    same("-k", "printf '<%s>\\n' ::: a '' b").quoted(),
    same("-k", "printf '<%s>' '{}' 'a  b' ::: x").quoted(),
    same("-k", "echo {2} ::: a b").but(D::SecondPlace, "{2} a\n{2} b\n", 0, &["1 6 0 0", "2 6 0 0"]),
    // Several lists.
    same("-k", "echo {1}-{2} ::: a b ::: c d"),
    same("-k", "echo ::: a b ::: c d"),
    same("-k", "echo {2} {1} ::: a b ::: c d"),
    same("-k", "echo {} ::: a b ::: 'c d' e"),
    same("-k", "echo x{}y ::: a b ::: c"),
    same("-k", "echo {1.} {2/} {-1//} ::: a.b c.d ::: e/f"),
    same("-k", "echo {-1} {-2} {-3} ::: a b ::: c d ::: e f"),
    same("-k", "echo {4} {1} ::: a ::: b ::: c"),
    same("-k", "echo {#} {1} {2} ::: a b ::: c d"),
    same("-k", "echo ::: a b c :::+ d e f"),
    same("-k", "echo ::: a b c :::+ d e"),
    same("-k", "echo ::: a b :::+ d e f g"),
    same("-k", "echo ::: a b :::+ d e ::: 1 2"),
    same("-k", "echo ::: 1 2 ::: a b :::+ d e"),
    same("-k", "echo ::: a b :::+ c d :::+ e f"),
    same("-k --link", "echo ::: a b c ::: d e"),
    same("-k --link", "echo {2}{1} ::: a ::: d e f"),
    same("-k --xapply", "echo ::: a b ::: c d ::: e f"),
    same("-k", "echo :::: f1"),
    same("-k", "echo :::: f1 f2"),
    same("-k", "echo {1} {2} :::: f1 ::: x y"),
    same("-k", "echo ::: x y :::: f1"),
    same("-k", "echo :::: f1 ::::+ f2"),
    same("-k", "echo ::: x y :::+ p q :::: f2"),
    same("-k", "echo :::: -").fed("a\nb\n"),
    same("-k", "echo ::: x :::: -").fed("a\nb\n"),
    same("-k -0", "printf '<%s>' :::: z1").quoted()
        .but(D::Quotes, "<a\nb><c d>", 0, &["1 5 0 0", "2 5 0 0"]),
    same("-k", "printf '<%s>' {1} {2} ::: 'a b' \"c'd\" ::: '$x' '' 'e;f'").quoted(),
    same("", "echo {1} {2} {3} ::: a b c ::: d e f ::: g h i"),
    // The input.
    same("-k", "echo").fed("a\nb\nc\n"),
    same("-k", "echo").fed("a\nb\nc"),
    same("-k", "echo [{}]").fed("a\n\nb\n"),
    same("-k", "echo").fed(""),
    same("-k -r", "echo").fed(""),
    same("-k -a f1", "echo"),
    same("-k -a f1 -a f2", "echo"),
    same("-k -a f1 -a f2", "echo {2}{1}"),
    same("-k --link -a f1 -a f2", "echo"),
    same("-k --arg-file f1", "echo {}"),
    same("-k -a -", "echo").fed("a\nb\n"),
    same("-k -0", "printf '<%s>'").quoted().fed("a  b\0c d\0"),
    same("-k --null", "echo").fed("a\0b\0"),
    same("-k -d ,", "echo").fed("a,b,c"),
    same("-k -d ,", "echo").fed("a,b,c\n").but(D::Quotes, "a\nb\nc\n\n", 0, &["1 2 0 0", "2 2 0 0", "3 3 0 0"]),
    same("-k -d :", "echo {}-{#}").fed("a:b"),
    same("-k -d '\\t'", "echo").fed("a\tb\tc"),
    same("-k -d ';'", "echo").fed("a;b;c"),
    same("-k --delimiter '\\n'", "echo").fed("a\nb\n"),
    same("-k -d '\\0'", "echo").fed("a\0b\0"),
    same("-k -I %", "echo % {} ::: a b"),
    same("-k -I{}", "echo x{}y ::: a b"),
    same("-k -I ,,", "echo ,,-,, ,,, ::: a b"),
    same("-k -I %", "echo hi ::: a"),
    same("-k -I @", "echo @ {.} {/} ::: x/a.b"),
    // Columns.
    same("-k --colsep ,", "echo {1}-{2}-{3} ::: a,, a,b,c,d x"),
    same("-k --colsep ,", "echo {2} {1}").fed("a,b\nc,d\n"),
    same("-k -C ,", "echo ::: a,b c,d"),
    same("-k -C '\\t'", "echo {2}").fed("a\tb c\nd\te\n"),
    same("-k -C ' +'", "echo {3} {1}").fed("a   b c\n"),
    same("-k -C '\\|'", "echo {-1}.{1} ::: 'a|b|c'"),
    same("-k -C '[:;]'", "echo {1} {2} {3} ::: 'a:b;c'"),
    same("-k -C ,", "echo {1.} {2/} ::: a.b,c/d"),
    same("-k -C ,", "echo {1} {2} {3} ::: a,b ::: c"),
    same("-k -C , -a cols", "printf '<%s>' {2} {1}").quoted(),
    same("-k -C ,", "echo x{}y ::: a,b"),
    // Several items in one command.
    same("-k -n2", "echo ::: a b c d e"),
    same("-k -n 2", "echo {2} {1} ::: a b c d e"),
    same("-k -N3", "echo {3} {} ::: a b c d"),
    same("-k -L2", "echo ::: a b c"),
    same("-k -n1", "echo ::: a 'b c'"),
    same("-k -N0", "echo hi ::: 1 2"),
    same("-k -n0", "echo {#} ::: a b"),
    same("-k -n2", "echo x{}y {1.} {2/} ::: a.b c/d e"),
    same("-k -n2", "printf '<%s>' ::: 'a b' '' \"c'd\" '$e'").quoted(),
    same("-k --max-args 4", "echo").fed("a\nb\nc\nd\ne\n"),
    same("-k -n2 -a f1", "echo"),
    same("-k -X", "echo ::: 1 2 3 4 5 6 7 8 9 10"),
    same("-k -X -j4", "echo ::: 1 2 3 4 5 6 7 8 9 10"),
    same("-k -X", "echo a{}b ::: 1 2 3"),
    same("-k -X", "echo a{}b{.}c {/} ::: x/1.y 2 3"),
    same("-k -X -n2", "echo a{}b ::: 1 2 3"),
    same("-k -X", "echo"  ).fed("1\n2\n3\n4\n5\n"),
    same("-k -m", "echo a{}b ::: 1 2 3 4 5"),
    same("-k -m -j1", "echo ::: 1 2 3"),
    same("-k --xargs", "echo a{}b ::: 1 2 3 4 5"),
    same("-k --xargs", "printf '<%s>'").quoted().fed("a b\n\nc'd\n"),
    // Output.
    same("-k --tag", "echo x ::: a b"),
    same("-k --tag", "echo {1} ::: a b ::: c d"),
    same("-k --tag", "printf '1\\n2' ::: a b").quoted(),
    same("-k --tag -n2", "echo ::: a b c"),
    same("-k --tag", "echo ::: a ::: 'b c'").but(D::Tag, "a 'b c'\ta b c\n", 0, &["1 6 0 0"]),
    same("-k --tag -C ,", "echo {2} ::: a,b").but(D::Tag, "a,b\tb\n", 0, &["1 2 0 0"]),
    same("-k -j1 --line-buffer", "printf '{}\\n\\nx\\n' ::: 1 2").quoted(),
    same("-k -j1 --lb --tag", "echo ::: 1 2"),
    same("-k --group", "echo ::: a b"),
    same("-k --dry-run", "echo {} ::: a 'b c'"),
    same("-k --dryrun", "echo {1} {2} ::: a b ::: c"),
    same("-k --dry-run -n2", "echo x{}y ::: a b c"),
    same("-k --dry-run", "echo ::: \"c'd\"").but(D::Quotes, "echo \"c'd\"\n", 0, &[]),
    // Ends.
    same("-k", "true ::: a b"),
    same("-k", "false ::: a b"),
    same("-k", "exit {} ::: 0 1 2").by_shell(),
    same("-k", "echo {}; exit {} ::: 0 3").by_shell(),
    same("-k --halt soon,fail=1 -j1", "echo {}; exit {} ::: 0 3 0").by_shell(),
    same("-k --halt now,fail=2 -j1", "echo {}; exit {} ::: 1 3 0").by_shell(),
    same("-k --halt now,fail=1 -j2", "echo {}; test {} = 9 && exit 3; exec sleep 1000 ::: 9 1").by_shell(),
    same("-k", "nosuchcommand {} ::: a").but(D::NotFound, "", 2, &[]),
    same("-k", "kill -9 $$ ::: a").by_shell()
        .but(D::Lost, "", 1, &["1 0 0 9", "1 0 0 9", "1 0 0 9"]),
    same("-k --retries 3", "exit {} ::: 0 1").by_shell()
        .but(D::Attempts, "", 1, &["1 0 0 0", "2 0 1 0", "2 0 1 0", "2 0 1 0"]),
    same("-k --timeout 1", "exec sleep ::: 1000").by_shell()
        .but(D::TimeLimit, "", 1, &["1 0 0 15"]),
    same("-k --delay 0.01", "echo ::: a b c"),
    // The shell.
    same("-k", "echo {} | tr a b ::: a ba").by_shell(),
    same("-k", "echo \"<{}>\" '{}' ::: 'a  b'").by_shell()
        .but(D::QuotesInScript, "<a  b> a  b\n", 0, &["1 12 0 0"]),
    same("-k", "for x in {} 2; do echo $x; done ::: 1").by_shell(),
    same("-k", "echo $((1 + 1)) {} ::: a").by_shell(),
    same("-k -C ,", "echo {2} | tr b c; echo {1} ::: a,b").by_shell(),
    same("-k -n2", "echo {2} && echo {1} ::: a b c d").by_shell(),
    same("-k -n2", "echo {2} && echo {1} ::: a b c").by_shell()
        .but(D::MissingInScript, "b\na\n\nc\n", 0, &["1 4 0 0", "2 3 0 0"]),
    same("-k", "echo {1}{2} >&2; echo {2} ::: a ::: b c").by_shell(),
    same("-k", "echo '$HOME' ::: a").but(D::Shell, "$HOME a\n", 0, &["1 8 0 0"]),
    same("-k", "echo ::: a ::: b").by_shell().but(D::SeveralInShell, "", 2, &[]),
    // Surroundings.
    same("-k --wd /", "pwd; true ::: a").by_shell(),
    same("-k --workdir sub", "ls {} ::: g"),
    same("-k --nice 3", "nice; true ::: a").by_shell(),
    same("-j 100% -k", "echo ::: a b"),
    same("-j +1 -k", "echo ::: a b"),
    same("-P 2 -k", "echo ::: a b"),
    same("--jobs 1", "echo ::: a b c"),
    same("--max-procs 1", "echo ::: a b c"),
    same("-k --bar", "echo ::: a b"),
    same("-k --eta", "echo ::: a b"),
    same("-k --will-cite --gnu", "echo ::: a"),
    // A job log is gone on with.
    same("-k --resume --joblog half", "echo ::: a b c d"),
    same("-k --resume-failed --joblog half", "echo ::: a b c d"),
    same("-k --resume --joblog half", "echo {#} {} ::: a b c d"),
    same("-k --resume-failed --joblog half", "echo {1}{2} ::: a b ::: c d"),
    same("-k --resume --joblog half", "echo").fed("a\nb\nc\nd\ne\n"),
    same("-k --resume --joblog none", "echo ::: a b"),
    same("-k --joblog +half", "echo ::: a b"),
    same("-k --halt never", "test ::: a b ''"),
    same("-k --delay 0.01 --memfree 1m", "echo ::: a b"),
];

/// A test for each line.
pub(crate) fn trials() -> Vec<Trial> {
    let lines = LINES.iter().zip(1..).map(|(line, number)| {
        let words = format!("{} {}", line.options, line.rest);
        let name: String = words
            .chars()
            .map(|c| if c.is_ascii_graphic() { c } else { '_' })
            .collect();
        let name = format!("{}::{number}_{name}", module_path!());
        Trial::ignorable_test(name, move || {
            if !has_program("parallel") {
                return Ok(Completion::ignored_with("parallel is not installed"));
            }
            is_alike(line);
            Ok(Completion::Completed)
        })
    });
    let mut trials: Vec<Trial> = lines.collect();
    trials.extend(own());
    trials
}

fn own() -> Vec<Trial> {
    let name = |name: &str| format!("{}::{name}", module_path!());
    vec![
        Trial::test(name("at_least_a_hundred_lines_are_compared"), || {
            assert!(LINES.len() >= 100);
            Ok(())
        }),
        Trial::test(
            name("the_cookbook_knows_these_differences_and_no_others"),
            || {
                the_cookbook_knows_these_differences_and_no_others();
                Ok(())
            },
        ),
    ]
}

fn the_cookbook_knows_these_differences_and_no_others() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cookbook.md");
    let book = fs::read_to_string(path).unwrap();
    let (_, table) = book
        .split_once("| where | parallel | supervisor |\n")
        .unwrap();
    let rows: BTreeSet<&str> = table
        .lines()
        .skip(1)
        .map_while(|line| line.strip_prefix("| "))
        .filter_map(|line| line.split(" | ").next())
        .collect();
    let known: BTreeSet<&str> = Difference::ALL.map(Difference::row).into();
    assert_eq!(rows, known);
    let tried = LINES
        .iter()
        .filter_map(|line| line.known.map(|known| known.difference));
    let mut tried: BTreeSet<Difference> = tried.collect();
    // It is part of the comparison of any line.
    tried.insert(Difference::ExitCode);
    assert_eq!(tried, Difference::ALL.into(), "each is tried");
}

/// A row of a job log without its times.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    /// Seq, Host, Send, Receive, Exitval and Signal.
    columns: Vec<String>,
    /// The command, as a shell reads it: each program has quotes of its own.
    words: Vec<String>,
}

fn rows(text: &str) -> Vec<Row> {
    let rows = text.lines().skip(1).map(|row| {
        let columns: Vec<&str> = row.splitn(9, '\t').collect();
        let [seq, host, _, _, send, receive, exit, signal, command] = columns[..] else {
            panic!("{row:?}");
        };
        let columns = [seq, host, send, receive, exit, signal];
        Row {
            columns: columns.map(|column| column.trim().to_owned()).into(),
            words: shlex::split(command).unwrap_or_else(|| vec![command.to_owned()]),
        }
    });
    // They come as items end.
    let mut rows: Vec<Row> = rows.collect();
    rows.sort();
    rows
}

/// What one program has made of a line.
#[derive(Debug)]
struct Made {
    said: Said,
    rows: Vec<Row>,
}

/// The first row was done, the second failed.
const HALF: &str = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n\
                    1\t:\t1700000000.000\t     0.001\t0\t2\t0\t0\techo a\n\
                    2\t:\t1700000000.000\t     0.001\t0\t2\t1\t0\techo b\n";

fn run(line: &Line, program: &str, own: &[&str], has_end: bool) -> Made {
    let place = Place::new();
    place.write("f1", b"a\nb\n");
    place.write("f2", b"1\n2\n");
    place.write("z1", b"a\nb\0c d\0");
    place.write("cols", b"a,b\nc d,e\n");
    place.write("half", HALF.as_bytes());
    fs::create_dir(place.path("sub")).unwrap();
    place.write("sub/g", b"");
    let split = |text: &str| shlex::split(text).unwrap();
    let options = split(line.options);
    let log = options.iter().position(|option| option == "--joblog");
    let log = log.map_or("log", |at| &options[at + 1]);
    let mut command = Command::new(program);
    command.current_dir(place.folder.path());
    command.env("TMPDIR", place.folder.path());
    command
        .env("HOME", place.folder.path())
        .env("SHELL", "/bin/sh");
    command
        .args(["-j2", "--joblog", log])
        .args(own)
        .args(&options);
    command.args(has_end.then_some("--"));
    // A script is one word, up to its items.
    match line.shell {
        Shell::Both => {
            let (script, items) = line.rest.split_once(" ::: ").unwrap_or((line.rest, ""));
            command.arg(script);
            if !items.is_empty() {
                command.arg(":::").args(split(items));
            }
        }
        Shell::Indifferent | Shell::None => {
            command.args(split(line.rest));
        }
    }
    let said = feed(&mut command, line.input.as_bytes());
    Made {
        said,
        rows: rows(&place.text(log)),
    }
}

fn is_alike(line: &Line) {
    let quoted: &[&str] = match line.shell {
        Shell::None => &["--will-cite", "-q"],
        Shell::Indifferent | Shell::Both => &["--will-cite"],
    };
    let script: &[&str] = match line.shell {
        Shell::Both => &["-q", "--no-summary", "--shell"],
        Shell::Indifferent | Shell::None => &["-q", "--no-summary"],
    };
    let theirs = run(line, "parallel", quoted, false);
    let ours = run(line, env!("CARGO_BIN_EXE_supervisor"), script, true);
    let context = format!("{line:?}\nparallel: {theirs:#?}\nours: {ours:#?}");
    let Some(known) = line.known else {
        assert_eq!(shown(line, &ours), shown(line, &theirs), "{context}");
        // One exit code says that some failed, and the other how many.
        let code = theirs.said.code.unwrap();
        assert_eq!(ours.said.code, Some(code.min(1)), "{context}");
        assert_eq!(ours.rows, theirs.rows, "{context}");
        return;
    };
    let rows: Vec<String> = ours.rows.iter().map(short).collect();
    assert_eq!(ours.said.out, known.out, "{context}");
    assert_eq!(ours.said.code, Some(known.code), "{context}");
    assert_eq!(rows, known.rows, "{context}");
    let code = theirs.said.code.unwrap();
    let is_same = theirs.said.out == ours.said.out
        && ours.said.code == Some(code.min(1))
        && ours.rows == theirs.rows;
    assert!(!is_same, "there is no difference any more: {context}");
}

/// Returns the output, in an order of its own where none was asked for.
fn shown(line: &Line, made: &Made) -> Vec<u8> {
    if line.options.contains("-k") {
        return made.said.stdout.clone();
    }
    let mut lines: Vec<&[u8]> = made
        .said
        .stdout
        .split_inclusive(|byte| *byte == b'\n')
        .collect();
    lines.sort_unstable();
    lines.concat()
}

/// Returns `Seq Receive Exitval Signal`.
fn short(row: &Row) -> String {
    let columns = &row.columns;
    [&columns[0], &columns[3], &columns[4], &columns[5]]
        .map(String::as_str)
        .join(" ")
}
