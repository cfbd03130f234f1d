#!/bin/sh
# How tests/data/dishes/journal was made, by the build of November 2026 before the causes of commands
# had types of their own: sh make.sh SUPERVISOR, in an empty folder.
set -eu
supervisor=$1
"$supervisor" --workers 1 --dishes 4 --wash 0 --dry 2s --max-attempts 2 --format json \
    --journal journal > events &
run=$!
# Waits for the dryer of a dish, and ends it.
attempts=0
end() {
    attempts=$((attempts + 1))
    while test "$(grep -c '"event":"drying"' events)" -lt $attempts; do sleep 0.02; done
    drying=$(grep '"event":"drying"' events | tail -n 1)
    echo "$drying" | grep -q "\"item\":\"$2\"" || exit 1
    kill "-$1" "$(echo "$drying" | sed 's/.*"pid":\([0-9]*\).*/\1/')"
}
end KILL dish-1
end ABRT dish-1
end XCPU dish-2
end USR1 dish-2
end KILL dish-3
# The supervisor is killed while dish-3 is dried once more and dish-4 waits.
while test "$(grep -c '"event":"drying"' events)" -lt 6; do sleep 0.02; done
kill -KILL $run
wait $run || true
# One letter is sent back: the journal is closed then, and one file.
"$supervisor" dead retry --journal journal 2
