"""What one run of a Python peer is to measure, by the same options as in order.rs.

It knows nothing of contenders.
"""

import argparse


def parse():
    parser = argparse.ArgumentParser(description="Makes one measurement; see benches/run.")
    parser.add_argument("row")
    parser.add_argument("contender")
    defaults = dict(workers=1, items=1000, bytes=100, batch=1, bound=0, gap_us=0, hang_ms=0)
    defaults.update(limit_s=120)
    for name, number in defaults.items():
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=number)
    return parser.parse_args()
