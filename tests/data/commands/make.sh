#!/bin/sh
# How tests/data/commands was made, by the build of November 2026 before the causes of commands had
# types of their own: sh make.sh SUPERVISOR, in an empty folder. Kept of it are the journal and the
# files of journal-output (git keeps no modes, so whoever copies them makes that folder anew).
set -eu
supervisor=$1
script() { printf '#!/bin/sh\n%s\n' "$2" > "$1"; chmod +x "$1"; }
script ok 'echo all is well'
script code 'echo no words >&2; exit 3'
script crash 'ulimit -c 0; kill -SEGV $$'
script killed 'kill -KILL $$'
script asked 'exit 143'
script slow 'exec sleep 60'
script plain-file 'exit 0'
chmod -x plain-file
script hold 'read x < gate'
script hold-too 'read x < gate'
script quick 'echo said in time'
script bad 'echo said too; echo why not >&2; exit 4'
script later 'echo later'
mkfifo gate
# The first run ends by itself: seven dead letters (`absent` is no file), all shown.
"$supervisor" --workers 1 --timeout 1s --journal journal -- ./{} \
    ::: ok code crash killed asked slow absent plain-file || test $? = 1
# The second one is killed while two items are worked on, one waits, and the ends of two are kept
# back, because output is to come in the order of the items.
"$supervisor" --workers 2 --keep-order --format json --journal journal -- ./{} \
    ::: hold quick bad hold-too later > events &
while ! grep -q '"event":"dead"' events || ! grep -q '"item":"hold-too"' events; do sleep 0.1; done
kill -KILL $!
wait $! || true
# One letter is sent back: the journal is closed then, and one file.
"$supervisor" dead retry --journal journal 8
