#!/usr/bin/env python3
"""A persistent worker for `supervisor --worker`: says what a text is about.

    supervisor --worker 'python3 examples/workers/summarize.py FOLDER' < paths.txt

The protocol has two lines for each item, both JSON. Read from stdin and answered on stdout:

    {"arguments":["a.txt"],"inputs":[]}
    {"exitCode":0,"output":"..."}

`arguments` are the words after `--` on supervisor's command line; without any, just the item.
`exitCode` 0 is done, all else is a failed attempt. The end of stdin is the end of the work.
"""

import json
import math
import os
import re
import sys
from collections import Counter
from pathlib import Path


class Model:
    """How rare each word is in a folder of texts. It stands for whatever takes long to load."""

    def __init__(self, folder):
        texts = [set(words(path)) for path in Path(folder).glob("*.txt")]
        self.seen_in = Counter(word for text in texts for word in text)
        self.texts = len(texts)
        print(f"learned {len(self.seen_in)} words from {self.texts} texts", file=sys.stderr)

    def summarize(self, path, count="3"):
        """The words that are frequent here and rare elsewhere."""
        times = Counter(words(Path(path)))
        if not times:
            raise ValueError(f"{path}: there are no words in it")

        def weight(word):
            return times[word] * math.log(self.texts / max(1, self.seen_in[word]))

        best = sorted(times, key=lambda word: (-weight(word), word))
        return f"{path}: {', '.join(best[:int(count)])}\n"


def words(path):
    return re.findall(r"[^\W\d_]+", path.read_text(encoding="utf-8").lower())


def answer(model, request):
    """One request's answer. What goes wrong with one item is that item's failure, not our end."""
    try:
        return {"exitCode": 0, "output": model.summarize(*request["arguments"])}
    except Exception as error:  # Whatever it is: the next item may be fine.
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return {"exitCode": 1, "output": f"{error}\n"}


def main():
    # Stdout is for answers alone: one stray print of some library would be taken for one. So the
    # answers get a descriptor of their own, and all else that is written there goes to stderr.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    model = Model(sys.argv[1])  # Once; if it fails, ending is the right thing to do.
    for line in sys.stdin.buffer:
        try:
            request = json.loads(line)
        except ValueError as error:  # Not from supervisor.
            reply = {"exitCode": 2, "output": f"no request: {error}\n"}
        else:
            reply = answer(model, request)
        # One line, and flushed: supervisor waits for it before it sends the next request.
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
