#!/usr/bin/env python3
"""How long it takes to run a command for each of some items: this project, xargs, GNU parallel.

    python3 benches/peers/commands.py ROW CONTENDER --supervisor PATH --items N --workers N

In the row `commands` the command is `true`, so that what is measured is the cost of running one. In
`commands-output` each prints 1 KiB, which is shown in the order of the items. From the start of the
contender to its end.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time


# A line of 1 KiB, with the item at its end.
PRINT = ["printf", r"%01023d\n"]


def commands(chosen):
    workers = str(chosen.workers)
    if chosen.row == "commands-output":
        return {
            "dishrack": [chosen.supervisor, "--workers", workers, "-k", "--", *PRINT],
            "parallel": ["parallel", "--will-cite", "-j", workers, "-k", "-q", *PRINT],
        }
    return {
        "dishrack": [chosen.supervisor, "--workers", workers, "--", "true"],
        "xargs": ["xargs", "-P", workers, "-n", "1", "true"],
        "parallel": ["parallel", "--will-cite", "-j", workers, "true"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("row")
    parser.add_argument("contender")
    parser.add_argument("--supervisor", required=True)
    parser.add_argument("--program", help="not used here")
    parser.add_argument("--items", type=int, default=2000)
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
    print(json.dumps(dict(value=took, unit="s")))


if __name__ == "__main__":
    main()
