#!/usr/bin/env python3
"""How many lines a second go to programs that do nothing with them.

    python3 benches/peers/reader.py reader CONTENDER --supervisor PATH --program PATH --items N

`supervisor --worker` sends each line to a program that answers it (`peers answer`). GNU parallel
hands blocks of lines to `cat`. From the start of the contender to its end.
"""

import argparse
import json
import os
import shlex
import subprocess
import tempfile
import time


def commands(chosen):
    workers = str(chosen.workers)
    answer = f"{shlex.quote(os.path.abspath(chosen.program))} answer"
    return {
        "dishrack": [chosen.supervisor, "--workers", workers, "--worker", answer],
        "parallel": ["parallel", "--will-cite", "--pipe", "-j", workers, "cat"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("row")
    parser.add_argument("contender")
    parser.add_argument("--supervisor", required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit-s", type=int, default=120)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryFile() as items:
        items.write(b"".join(b"%d\n" % number for number in range(chosen.items)))
        items.seek(0)
        # parallel writes into the home folder.
        environment = dict(os.environ, HOME=home)
        began = time.monotonic()
        subprocess.run(
            commands(chosen)[chosen.contender],
            stdin=items,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=chosen.limit_s,
            check=True,
        )
        took = time.monotonic() - began
    print(json.dumps(dict(value=chosen.items / took, unit="lines/s")))


if __name__ == "__main__":
    main()
