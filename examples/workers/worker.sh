#!/bin/sh
# A persistent worker for `supervisor --worker` in plain sh: looks items up in a table that it has
# read once. No process is started for an item.
#
#     supervisor --worker 'sh examples/workers/worker.sh TABLE' < keys.txt
#
# TABLE has lines of a key, a tab and a value.
#
# The protocol: supervisor writes a request on one line of stdin, waits for the answer on one line
# of stdout, and closes stdin when there is nothing more to do.
#
#     {"arguments":["some key"],"inputs":[]}
#     {"exitCode":0,"output":"its value\n"}
#
# Its limits: sh has no JSON. This script knows only the form in which supervisor writes requests
# (no spaces, the members in this order), takes one argument, and never decodes a string: it writes
# the table's strings as JSON when it reads them, and so compares like with like. That works for
# quotes, backslashes and tabs; other control characters in the table are refused. It tries row after
# row, so the table should be short. A worker that must look into its items wants a language with
# JSON: see summarize.py.
set -fu # No patterns: a row of the table may be a star.

IFS='
'
tab='\t' # As JSON writes it; with the real one the line would end up in two members.

table=$(sed 's/\\/\\\\/g; s/"/\\"/g; s/	/\\t/g' -- "$1") || exit
if printf %s "$table" | LC_ALL=C tr -d '\n' | LC_ALL=C grep -q '[[:cntrl:]]'; then
    echo "worker.sh: $1: there are control characters in it" >&2
    exit 2
fi

# The exit code, and the output as JSON has it between its quotes.
answer() {
    printf '{"exitCode":%s,"output":"%s\\n"}\n' "$1" "$2"
}

while IFS= read -r request; do
    case $request in
    *'"arguments":["'*'"],"inputs":[]}') ;;
    *)
        answer 2 'expected a request with an argument'
        continue
        ;;
    esac
    key=${request#*'"arguments":["'}
    key=${key%'"],"inputs":[]}'}
    case $key in
    # Inside a string a quote has a backslash before it, so this one stands between two strings.
    *'","'*)
        answer 2 'expected only one argument'
        continue
        ;;
    esac
    for row in $table; do
        case $row in
        "$key$tab"*)
            answer 0 "${row#"$key$tab"}"
            continue 2
            ;;
        esac
    done
    answer 1 "$key: not in the table"
done
