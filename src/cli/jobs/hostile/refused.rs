//! Scripts in which a value would be evaluated, or that shells do not read alike: what is said of them.

use super::{read, values};

/// Scripts, and what stands in the complaint.
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
    ("sh -$x {}", "another shell's script"),
    (
        "sh {} {}",
        "an option of the shell that is started: write sh -- {}",
    ),
    ("sh <<E\necho {}\nE\n", "sh -s -- {} <<'EOF'"),
    (
        "bash -s <<E\necho {}\nE\n",
        "script that is read from stdin",
    ),
    ("<<E sh\necho {}\nE\n", "script that is read from stdin"),
    (
        "ssh host <<E\necho {}\nE\n",
        "script that is read from stdin",
    ),
    (
        "python3 - <<E\nprint('{}')\nE\n",
        "script that is read from stdin",
    ),
    ("bash <<<{}", "script that is read from stdin"),
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
    ("perl -ne 'print {}'", "a part of the perl program"),
    (
        "python3.11 -c \"print('{}')\"",
        "python3 -c '... sys.argv[1] ...' {}",
    ),
    ("ruby -e 'puts {}'", "a part of the ruby program"),
    ("node --eval={}", "a part of the node program"),
    ("php -r '{};'", "a part of the php program"),
    ("perl {} {.}", "write -- before that"),
    ("watch ls {}", "write watch -x -- COMMAND {}"),
    ("env -S 'ls {}'", "leave -S away"),
    ("{} {.}", "is the command's name, which could be eval"),
    ("command {} {.}", "is the command's name"),
    ("PS4={} sh -x", "write another name"),
    ("RANDOM={}", "write another name"),
    ("env BASH_ENV={} bash x", "write another name"),
    ("export ENV={}", "write another name"),
    ("printf {} x", "write printf '%s\\n' {}"),
    ("printf -v {} x", "a variable's name does"),
    ("[ -v {} ]", "write test -n {}"),
    ("[ {} {.} ]", "write test -n {}"),
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
    ("echo $'{}'", "write '...' or \"...\""),
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
    ("echo $'a\\'b' {}", "$'...' at the same quote"),
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

/// What a cautious reader could take for something else.
const TAKEN: &[&str] = &[
    "echo eval {} trap {} sh {}",
    "echo sed {} awk {}",
    "grep -e sh {} {.}",
    "sh {}",
    "sh -- {} {}",
    "sh ./x.sh {} {}",
    "sh \"$HOME/x.sh\" {} {}",
    "sh -x script {} <<E\n{}\nE\n",
    "python3 x.py {} <<E\n{}\nE\n",
    "python3 -c 'x' {} {}",
    "perl -pi.bak -e 's/a/b/' {}",
    "awk -F: '{print $1}' {} {}",
    "sed -n 's/a/b/p' {} >{.}.new",
    "ssh {} uptime",
    "ssh -p 22 {} uptime -p",
    "env {} {}",
    "./{} {}",
    "{} --help",
    "xargs -n1 {} <x",
    "export X={} Y=\"{}\"",
    "[ {} = x ] && [ -n {} ] && [ {#} -eq 1 ]",
    "if [ -e {} ] && ! grep -q x {}; then mv {} {}.old; else :; fi",
    "while :; do echo {}; break; done; until :; do :; done",
    "for i in 1 2\ndo\n echo {}\ndone >{.}.log 2>&1",
    "case {} in\n # comment )\n a|b) ls;;\n (*.c) cc {} ;;\n *)\nesac && echo {}",
    "f() { echo \"$1\"; }\nf {}",
    "x=$(basename {}); echo \"$x\"",
    "sort {} | uniq -c | sort -rn | head -n 1 >{.}.top",
    "cd {} && ../build",
    "(cd {//} && tar cf - {/}) | gzip >{.}.gz",
    "echo $((1 + {#})) $(( $(wc -l <x) ))",
    "curl -s \"https://host/{}?a=1&b={/}\" -o {#}.html",
    "echo 'it'\\''s' {}",
    "echo {} # it's a comment",
    "printf '%s\\n' {} \"${x:-a}\" \"${x%.c}\" ${#x} $? $$ $# $! $@",
];

#[test]
fn usual_scripts_are_taken() {
    let refused = TAKEN.iter().filter_map(|script| read(script).err());
    let refused: Vec<String> = refused.collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
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
