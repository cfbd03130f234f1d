#!/usr/bin/env bash
# fakeredis 2.41.0 (with lupa 2.8), a Redis in memory for tests, told to be Redis 7.4. Since 7.0 a script
# may begin with a line of flags (`#!lua flags=...`). SCRIPT LOAD takes such a script and gives its
# hash; EVALSHA then fails, because the line is handed to Lua. A client that chooses the form of its
# scripts by the server's version, or by whether they load, fails at the first call.
#
# Guess before the run: a hash, and an error that quotes the `#`.
# Exits with 1 when that is no longer so. Needs python3 with venv, and the registry.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fakeredis==2.41.0 lupa==2.8 redis==8.1.0
cat >"$folder/try.py" <<'PYTHON'
import fakeredis
import redis

server = fakeredis.FakeRedis(version=(7, 4))
print("plain: ", server.eval("return 1", 0))
digest = server.script_load("#!lua flags=no-writes\nreturn 1")
print("loaded:", len(digest), "digits")
try:
    print("run:   ", server.evalsha(digest, 0))
except redis.ResponseError as error:
    print("run:    error:", str(error).splitlines()[0])
PYTHON
seen=$("$folder/venv/bin/python" "$folder/try.py")
echo "fakeredis 2.41.0:"
echo "$seen"
grep -q '^plain:  1$' <<<"$seen"
grep -q '^loaded: 40 digits$' <<<"$seen"
grep -q "^run:    error:.*'#'" <<<"$seen"
