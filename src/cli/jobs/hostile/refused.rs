//! Scripts that would evaluate a value, or that shells read differently, with the messages about
//! them.

use super::{read, values};
use crate::jobs::shell::Script;
use crate::jobs::template::Template;

const STDIN: &str = "script that is read from stdin";
const PART_OF_PERL: &str = "a part of the perl program";
const UNKNOWN: &str = "whose name is not known";

/// Scripts, with a part of the error message.
const REFUSED: &[(&str, &str)] = &[
    // Evaluated.
    ("echo $(( {} ))", "stands in arithmetic"),
    ("echo \"$((1 + {.}))\"", "{.} stands in arithmetic"),
    ("echo $(( $(echo {}) ))", "stands in arithmetic"),
    ("echo $(( ${x:-{}} ))", "stands in arithmetic"),
    ("cat <<E\n$(( {} ))\nE\n", "stands in arithmetic"),
    ("let x={}", "stands in arithmetic"),
    ("eval {}", "evaluated by eval: write x={}"),
    ("eval \"echo '{}'\"", "evaluated by eval"),
    ("eval \"$(echo {})\"", "evaluated by eval"),
    ("if :; then eval echo {}; fi", "evaluated by eval"),
    ("for x in 1; do eval {}; done", "evaluated by eval"),
    ("case x in x) eval {};; esac", "evaluated by eval"),
    ("fi; f() { eval {}; }", "evaluated by eval"),
    ("(eval {})", "evaluated by eval"),
    ("! eval {}", "evaluated by eval"),
    ("x=1 eval {}", "evaluated by eval"),
    (">x 2>&1 eval {}", "evaluated by eval"),
    ("echo `eval {}`", "evaluated by eval"),
    ("echo \"$(eval {})\"", "evaluated by eval"),
    ("\\eval {}", "evaluated by eval"),
    ("e'va'\"l\" {}", "evaluated by eval"),
    ("ev\\\nal {}", "evaluated by eval"),
    ("command eval {}", "evaluated by eval"),
    ("command -p -- eval {}", "evaluated by eval"),
    ("builtin eval {}", "evaluated by eval"),
    ("time -p eval {}", "evaluated by eval"),
    ("true && false || eval {} & wait", "evaluated by eval"),
    ("trap {} EXIT", "evaluated by trap: write x={}"),
    ("trap 'rm {}' EXIT", "evaluated by trap"),
    (". {}", "become a part of the script: write sh -- {}"),
    ("source ./{}", "become a part of the script"),
    ("sh -c {}", "sh -c '... \"$1\" ...' sh {}"),
    ("sh -c 'echo {}'", "another shell's script"),
    ("bash -ec \"echo '{}'\" x", "another shell's script"),
    ("dash -e -c \"$(cat {})\"", "another shell's script"),
    ("bash -o pipefail -c {}", "another shell's script"),
    ("bash +O extglob -c {}", "another shell's script"),
    ("/usr/bin/env bash -c {}", "another shell's script"),
    ("sudo -u x zsh -lc {}", "another shell's script"),
    ("find . -exec sh -c 'echo {}' \\;", "another shell's script"),
    ("ls | xargs -n1 sh -c 'echo {}'", "another shell's script"),
    ("busybox sh -c {}", "another shell's script"),
    ("ssh host sh -c {}", "evaluated by the other host's shell"),
    ("su - x -c 'echo {}'", "another shell's script"),
    ("flock x -c 'echo {}'", "another shell's script"),
    ("flock -w 5 \"$x\" -c {}", "another shell's script"),
    ("flock -w 5 x --comm {}", "another shell's script"),
    ("flock -n x -c {}", "another shell's script"),
    ("flock -w \"$x\" y -c {}", "another shell's script"),
    ("flock -xw \"$x\" y -c {}", "another shell's script"),
    ("flock --wait \"$x\" y -c {}", "another shell's script"),
    ("flock {} -c {.}", "another shell's script"),
    ("sh -$x {}", "another shell's script"),
    (
        "sh {} {}",
        "an option of the shell that is started: write sh -- {}, or ./{}",
    ),
    ("sh <<E\necho {}\nE\n", "sh -s -- {} <<'EOF'"),
    ("bash -s <<E\necho {}\nE\n", STDIN),
    ("<<E sh\necho {}\nE\n", STDIN),
    ("ssh host <<E\necho {}\nE\n", STDIN),
    ("python3 - <<E\nprint('{}')\nE\n", STDIN),
    ("bash <<<{}", STDIN),
    ("printf 'ls %s' {} | sh", STDIN),
    ("echo {} | sort | ssh host", STDIN),
    ("(echo {}) | bash -s x", STDIN),
    ("{ echo {}; } | sh", STDIN),
    ("cat <<E | sh\n{}\nE\n", STDIN),
    ("echo {} | sh /dev/stdin", STDIN),
    ("echo {} | xargs -0 sh -c", STDIN),
    ("echo {} | xargs -I% sh -c 'ls %'", STDIN),
    (". /dev/stdin <<E\n{}\nE\n", STDIN),
    ("eval \"$(cat)\" <<E\n{}\nE\n", STDIN),
    ("echo ${PS4:={}}", "write another name"),
    ("env {} ls", "write env -- {}"),
    ("ssh host cat {}", "ssh HOST 'IFS= read -r x;"),
    (
        "ssh -p 22 -- host cat {}",
        "evaluated by the other host's shell",
    ),
    (
        "ssh -o ProxyCommand={} host",
        "evaluated by the other host's shell",
    ),
    ("awk \"/{}/\" x", "awk '... ENVIRON[\"X\"] ...'"),
    (
        "awk -F: -v x=1 '{print \"{}\"}' x",
        "a part of the awk program",
    ),
    ("sed 's/x/{}/' x", "a part of the sed program"),
    ("sed -n -e \"s/x/{}/\" x", "a part of the sed program"),
    ("perl -ne 'print {}'", PART_OF_PERL),
    (
        "python3.11 -c \"print('{}')\"",
        "python3 -c '... sys.argv[1] ...' {}",
    ),
    ("ruby -e 'puts {}'", "a part of the ruby program"),
    ("node --eval={}", "a part of the node program"),
    ("php -r '{};'", "a part of the php program"),
    ("perl -{} {.}", PART_OF_PERL),
    ("perl {} {.}", "write -- before it"),
    ("watch ls {}", "write watch -x -- COMMAND {}"),
    ("env -S 'ls {}'", "leave -S away"),
    ("ls >&{}", "bash evaluates it: write >{} 2>&1"),
    ("ls 2>&1{}", "bash evaluates it"),
    ("cat <&{}", "bash evaluates it"),
    ("x={}; ls >&\"$x\"", "write >FILE 2>&1"),
    ("$(true) eval {}", "evaluated by eval"),
    ("$x eval {}", "evaluated by eval"),
    ("`x` eval {}", "evaluated by eval"),
    ("\"$@\" eval {}", "evaluated by eval"),
    ("\"${@}\" eval {}", "evaluated by eval"),
    ("${x}eval {}", "evaluated by eval"),
    ("$(x)sh -c {}", "another shell's script"),
    ("$(echo {}) x", "put quotes around the expansion"),
    ("${x:-{}} x", "put quotes around the expansion"),
    ("ls ${x:-a {}}", "all of it, \"${...}\""),
    ("sh $(echo {})", "an option of the shell"),
    ("{eval,} {}", "not every sh has {a,b}"),
    ("sh -c $x {}", "another shell's script"),
    ("$x {} {.}", UNKNOWN),
    ("{} {.}", "which could be eval"),
    ("command {} {.}", "is the command's name"),
    ("PS4={} sh -x", "write another name"),
    ("RANDOM={}", "write another name"),
    ("env BASH_ENV={} bash x", "write another name"),
    ("export ENV={}", "write another name"),
    ("printf {} x", "write printf '%s\\n' {}"),
    ("printf -v {} x", "a variable's name does"),
    ("[ -v {} ]", "write test -n {}"),
    ("[ {} {.} ]", "write test -n {}"),
    // Options that have a command or a program.
    ("sed --expr={} x", "a part of the sed program"),
    ("sed --expr {} x", "a part of the sed program"),
    ("node --ev {}", "a part of the node program"),
    ("su --comm {}", "another shell's script"),
    ("script --comma={}", "another shell's script"),
    ("env --sp={}", "leave -S away"),
    ("env -i {}", "write env -- {}"),
    ("env -u X {}", "write env -- {}"),
    ("env -{} {.}", "write env -- {}"),
    ("env FOO=1 {}", "write env -- {}"),
    ("parallel echo {} ::: a", "the shell that parallel starts"),
    ("perl {}", "write -- before it, or ./{}"),
    ("python3 {}", "write -- before it"),
    ("python3 {}/x", "write -- before it"),
    ("node {}", "write -- before it"),
    ("ruby {}", "write -- before it"),
    ("php {}", "write -- before it"),
    ("lua {}", "write -- before it"),
    ("awk -f x {}", "write -- before it"),
    ("python3 \"$(basename {})\"", "write -- before it"),
    ("sudo python3 {}", "write -- before it"),
    ("perl -pi.bak -e 's/a/b/' {}", "write -- before it"),
    ("sed s/a/b/ {} F", "write -- before it"),
    ("sed s/a/b/ F {}", "write -- before it"),
    ("sh {}", "write sh -- {}, or ./{}"),
    ("ssh {} uptime", "write ssh -- {}"),
    ("ssh -p 22 {} uptime -p", "write ssh -- {}"),
    (
        "tar --checkpoint-action=exec={} -xf x",
        "would be a command",
    ),
    ("tar -I {} -cf x y", "would be a command"),
    ("tar --use-comp {} -cf x y", "would be a command"),
    ("tar -{} x", "would be a command"),
    ("split --filter={} x", "would be a command"),
    ("sort --compress-prog={} x", "would be a command"),
    ("rsync -e {} a b", "would be a command"),
    ("git -c {} log", "would be a command"),
    ("sed -n{} x", "a part of the sed program"),
    ("sed -E{} x", "a part of the sed program"),
    ("python3 -u{} x", "a part of the python program"),
    ("perl -n{} x", PART_OF_PERL),
    ("perl -i{} -pe 1 x", PART_OF_PERL),
    ("perl -F{} -ane 1 x", PART_OF_PERL),
    ("perl -M{} x", PART_OF_PERL),
    ("perl -i.e -pe 's/{}//' x", PART_OF_PERL),
    ("perl -Fe -lane 'print \"{}\"'", PART_OF_PERL),
    ("node -pe 'x({})'", "a part of the node program"),
    ("node --import={} x.js", "a part of the node program"),
    ("node --loader {} x.js", "a part of the node program"),
    ("php -d {} x.php", "a part of the php program"),
    ("perl -ne print -- {}", "runs a name that ends in |"),
    ("perl -F: -e 1 ./{}", "runs a name that ends in |"),
    ("perl -lape 1 x {}", "runs a name that ends in |"),
    ("perl -e 'print while <>' -- {}", "write <{} behind it"),
    ("ed {}", "would be a command"),
    ("vim +{} x", "would be a command"),
    ("dc -e {}", "would be a command"),
    ("Rscript -e 'x({})'", "would be a command"),
    ("deno eval {}", "would be a command"),
    ("hyperfine 'ls {}'", "would be a command"),
    ("tmux new-session -d 'ls {}'", "would be a command"),
    ("tmux send-keys -t x 'ls {}' Enter", "would be a command"),
    ("env \"BASH_ENV={}\" bash x", "write another name"),
    ("sudo 'ENV={}' sh -i", "write another name"),
    ("env 'BASH_FUNC_ls%%={}' bash x", "write another name"),
    ("GIT_SSH_COMMAND={} git fetch", "write another name"),
    ("PERL5OPT=-M{} perl x", "write another name"),
    // The letters come out of the item, too.
    ("[ ! {} {.} ]", "write test -n {}"),
    ("test -{} {.}", "write test -n {}"),
    // Names that are not known.
    ("\"$x\" -c {}", UNKNOWN),
    ("${SHELL:-/bin/sh} -c {}", UNKNOWN),
    ("$(which sh) -c 'echo {}'", UNKNOWN),
    ("/bin/[s]h -c {}", UNKNOWN),
    ("/bin/?h {}", UNKNOWN),
    ("ev$(echo al) {}", UNKNOWN),
    ("e\"$x\" {}", UNKNOWN),
    ("sudo \"$x\" -c {}", UNKNOWN),
    ("find . -name x -exec \"$x\" -c {} \\;", UNKNOWN),
    ("sudo -u \"$x\" \"$y\" -c {}", UNKNOWN),
    ("\"$x\" -o pipefail -c {}", UNKNOWN),
    ("\"$x\" $y -ec {}", UNKNOWN),
    ("command ev$x {}", UNKNOWN),
    ("jobs -x eval {}", "evaluated by eval"),
    // Names.
    ("{}=x", "left side of an assignment: write NAME={}"),
    ("x{}=x ls", "left side of an assignment"),
    ("a[{}]=x", "not every sh has arrays"),
    ("export {}", "a variable's name does"),
    ("readonly \"{}=x\"", "a variable's name does"),
    ("unset {}", "a variable's name does"),
    ("read -r {}", "a variable's name does"),
    ("getopts ab {}", "a variable's name does"),
    ("declare x={}", "declare"),
    ("f() { local -i x={}; }", "local -i"),
    ("for {} in x; do :; done", "for has no plain name"),
    ("echo ${{}}", "a variable's name in ${...}"),
    ("echo ${x:{}}", "one of - = ? + # % can stand there"),
    ("echo ${x/{}/b}", "one of - = ? + # % can stand there"),
    ("echo ${x[{}]}", "one of - = ? + # % can stand there"),
    ("echo ${#{}}", "${#NAME}"),
    // Where nothing can be filled in.
    ("cat <<{}\nx\n{}\n", "a here-document's delimiter"),
    ("cat <<'E'\n{}\nE\n", "write <<EOF without quotes"),
    ("cat <<\\E\n{}\nE\n", "write <<EOF without quotes"),
    ("cat <<E\n${x#{}}\nE\n", "write x={}, and $x there"),
    ("cat <<E\n\\{}\nE\n", "behind a backslash"),
    (
        "echo \\{}",
        "behind a backslash: put the backslash between quotes",
    ),
    ("echo \"\\{}\"", "behind a backslash"),
    ("echo ${}", "stands behind a $"),
    ("echo \"${}\"", "stands behind a $"),
    ("echo $'{}'", "write them without the $"),
    ("$\"eval\" {}", "write them without the $"),
    ("$''eval {}", "write them without the $"),
    ("echo `echo \\\\ {}`", "in backquotes with a backslash"),
    // What shells do not read alike, or at all.
    ("echo {} 'x", "a ' is not closed"),
    ("echo {} \"x", "a \" is not closed"),
    ("echo {} `x", "a ` is not closed"),
    ("echo {} $(x", "a ( is not closed"),
    ("echo {} ${x", "a ${ is not closed"),
    ("echo {} $((x", "a $(( is not closed"),
    ("echo {} )", "a ) closes nothing"),
    ("echo {} \\", "ends with a backslash"),
    ("case {} in x) ls", "case or for is not complete"),
    ("cat <<E\n{}\n", "a here-document has no end"),
    ("cat <<E {}", "a here-document has no body"),
    ("echo $(cat <<E) {}\nE\n", "a here-document has no body"),
    (
        "cat <<E \"\n{}\nE\n\"\nE\n",
        "on a line that ends between quotes",
    ),
    ("[[ {} = x ]]", "[[ ]]: write [ ]"),
    ("(( x )); echo {}", "(( is arithmetic"),
    ("x=({})", "a ( stands"),
    ("diff <(ls {}) x", "not every sh has <( ) and >( )"),
    ("echo $[ {} ]", "$[ is arithmetic"),
    ("function f { eval {}; }", "not every sh has function"),
    ("ls &> {}", "write >FILE 2>&1"),
    ("ls |& cat {}", "write 2>&1 |"),
    ("alias x=eval\nx {}", "an alias changes"),
    ("time { eval {}; }", "time is a word of the language"),
    ("echo $(( (1) ) {} )", "$(( is closed by no ))"),
    (
        "echo \"`echo \\\"{}\\\"`\"",
        "in backquotes with a backslash",
    ),
    ("echo \"`echo \"{}\"`\"", "write $(...)"),
    ("echo \"${x:-'{}'}\"", "quotes in \"${...}\""),
    ("cat <\\\n<E {}\nE\n", "cut in two by a line's end"),
];

/// With `--json`, any two members may become the halves of an option and its argument.
#[test]
fn members_cannot_become_an_operator_of_test_and_its_name() {
    let read = |script: &str| Script::read(&Template::parse(&[script.into()], true));
    for script in [
        "[ -{a} {b} ]",
        "test -{a} {b}",
        "[ {a} {b} ]",
        "[ {a}{b} {c} ]",
        "[ \"-{a}\" '{b}' ]",
        "[ ! -{a} \"x{b}\" ]",
        "[ x = y -o -{a} {b} ]",
        "[ -v{a} {b} ]",
        "command test -{a} {b}",
        "if [ -{a} {b} ]; then :; fi",
    ] {
        let why = read(script).expect_err(script);
        assert!(why.contains("write test -n {}"), "{script:?}: {why}");
    }
    for script in ["[ -n {a} ]", "[ {a} = {b} ]", "[ -e {a} ] || [ {b} -gt 1 ]"] {
        assert!(read(script).is_ok(), "{script:?}");
    }
}

#[test]
fn places_where_a_value_would_be_evaluated_are_refused_with_what_to_write_instead() {
    let mut found = Vec::new();
    for (script, words) in REFUSED {
        match read(script) {
            Ok(_) => found.push(format!("{script:?} is taken")),
            Err(why) if why.contains(words) && why.starts_with("--shell: {") => {}
            Err(why) => found.push(format!("{script:?}: {why}, without {words:?}")),
        }
    }
    assert!(found.is_empty(), "{}:\n{}", found.len(), found.join("\n"));
}

/// The error messages for scripts without a place that end where an item would be no argument.
#[test]
fn an_item_is_appended_to_the_arguments_of_a_command_only() {
    let append = |script: &str| {
        Script::read_with_item(&Template::parse(&[script.into()], false)).map(|_| ())
    };
    for script in [
        "",
        " ",
        "echo x\n",
        "echo x;",
        "echo x &",
        "true &&",
        "false ||",
        "echo x |",
        "X=1",
        "X=1 Y=2",
        "echo hello # done",
        "for x in 1 2; do echo x; done",
        "if true; then ls; fi",
        "(ls)",
        "{ ls; }",
        "cat <<E\nx\nE\n",
        "cat <<E\nx\nE",
        "ls >",
        "ls 2>",
        "for x in",
        "echo \\",
        "echo 'x",
        "!",
        "case x in",
        "f() {",
        "while true; do",
        ">x",
    ] {
        let why = append(script).expect_err(script);
        assert!(
            why.starts_with("--shell: there is no {} in the script"),
            "{script:?}: {why}"
        );
        assert!(why.contains("write {} where you want it"), "{why}");
    }
    for script in [
        "wc",
        "wc -l",
        "ls | wc -l",
        "set -e; wc",
        "set -e\nwc",
        "X=1 wc",
        "ls >x",
        "ls >x 2>&1",
        "if true; \
         then :; fi; ls",
        "sh -c 'ls \"$1\"' sh",
        "! grep x",
        "ls --",
    ] {
        assert_eq!(append(script), Ok(()), "{script:?}");
    }
    assert!(append("eval").unwrap_err().contains("evaluated by eval"));
    assert!(
        append("sh -c")
            .unwrap_err()
            .contains("another shell's script")
    );
    assert!(append("perl").unwrap_err().contains("write -- before it"));
}

#[test]
fn without_a_place_any_script_is_run_as_it_is() {
    let script = read("[[ a == a ]] && echo $'x\\'' <(ls) 'x").unwrap();
    let words = script.words(values(b"item")).unwrap();
    assert_eq!(
        words,
        ["/bin/sh", "-c", "[[ a == a ]] && echo $'x\\'' <(ls) 'x"]
    );
}
