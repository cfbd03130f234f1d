"""What is compared: the rows of the comparison, who takes part in each, and the targets.

Only data. How cases are run is in compare.py, and what becomes of the figures in report.py.
"""

import collections

# `better` is "more" or "less". `note` says what is measured and how, for the reader of the table.
Row = collections.namedtuple("Row", "name title unit better note")

# `name` is unique in its row for a number of workers. `side` is who runs it: `rust`, `python`,
# `loky`, `redis`, `rq`, `arq` and `celery` (a Python with that package), `command` (whole programs), or
# `idle`. `ours` is the name of the contender of this project that does the same, for the ratio.
Case = collections.namedtuple("Case", "row name label side script contender options ours rounds")

# `other` is None where the figure itself has the target. `figure` is its name in a measurement.
Target = collections.namedtuple("Target", "row text name other workers is_met figure")

# Contenders that need a redis-server are in these rows, or have the side `redis`.
ROWS_WITH_A_SERVER = ("redis", "redis-idle")

ROWS = [
    Row(
        "throughput",
        "Small items",
        "items/s",
        "more",
        "100 B each, made and put one by one by one producer, each acknowledged; from the first "
        "`put` to the return of `join`, with workers that are started and warm. `put_many` gets them "
        "of one iterator. Slow contenders get fewer items. Pools and `map_unordered` return a result "
        "for each item as well.",
    ),
    Row(
        "producers",
        "Several producers",
        "items/s",
        "more",
        "100 B each, put by 1, 2 or 4 threads, each a part of them one by one or of an iterator: from the "
        "first `put` to the return of `join`, with 2 workers that are started and warm.",
    ),
    Row(
        "getters",
        "Get and acknowledge",
        "items/s",
        "more",
        "100 B each, got and acknowledged one by one (`get`, `task_done`) or 256 at a time (`get_many`, "
        "`task_done_many`): by one thread of the supervisor's process, where all are there, or by loops in "
        "2 worker processes, from the first `put` on.",
    ),
    Row(
        "round-trip",
        "Round trip of one item",
        "us",
        "less",
        "From `put` to the return of `join` for one 100 B item, with one worker and nothing else to "
        "do; medians, one trip at once after the other, or each after 1 ms in which everybody goes "
        "to sleep.",
    ),
    Row(
        "large",
        "Large items",
        "MiB/s",
        "more",
        "1 MiB each, made by one copy each, looked at once a page; at most 64 wait. memcpy is the "
        "machine's speed of that one copy.",
    ),
    Row(
        "journal",
        "Small items with a journal",
        "items/s",
        "more",
        "100 B each, put one by one by one producer that waits once for all of them, with two warm "
        "workers: from the first `put` to the return of `join`. The journal is new and on the disk of "
        "the program; `full` has each commit synced to it.",
    ),
    Row(
        "start",
        "Start of 16 workers",
        "ms",
        "less",
        "Until 16 workers are started and each has served an item of 1 ms; stopping is not counted. "
        "Each Python process has a pipe of its own and one item in it.",
    ),
    Row(
        "start-many",
        "Start of 1,000 workers",
        "s",
        "less",
        "Until 1,000 workers are started and each holds an item; stopping is not counted. "
        "posix_spawn starts the same program as often, two at a time, with `--version`, and waits "
        "for its end.",
    ),
    Row(
        "commands",
        "A command for each item",
        "s",
        "less",
        "`true` for each of 2,000 items, read from a file: from the start of `supervisor --workers 2 -- "
        "true`, `xargs -P 2 -n 1 true` or `parallel -j 2 true` to its end. Two threads of posix_spawn "
        "and wait run it as often, with a number as its argument, and do nothing else.",
    ),
    Row(
        "commands-output",
        "A command with output for each item",
        "s",
        "less",
        "The same with 1 KiB of output from each (`printf`), which is shown in the order of the items "
        "(`-k`).",
    ),
    Row(
        "reader",
        "Lines to one program",
        "lines/s",
        "more",
        "Lines of up to 8 B from a file, each an item that `supervisor --workers 2 --worker` sends to one of "
        "two programs, waits for its answer, acknowledges and shows; beside it `parallel --pipe -j 2 cat`, "
        "which hands blocks of lines to `cat`, knows of no line, and gets ten times as many.",
    ),
    Row(
        "busy",
        "Efficiency with items of 1 ms",
        "%",
        "more",
        "2,000 items that compute until they had 1 ms of a CPU, as many workers as CPUs: the ideal "
        "time as a part of the measured.",
    ),
    Row(
        "mixed",
        "Longest idle time with mixed items",
        "ms",
        "less",
        "400 items that compute for 0.1 to 100 ms, as many workers as CPUs: for how long at most a "
        "worker was at none while one waited, by the begins and ends of items.",
    ),
    Row(
        "hedging",
        "Time of an item where one of fifty hangs",
        "ms",
        "less",
        "Items that sleep for 5 to 15 ms, but 1 of 50 for 5 s if it is the first time: from the `put` to "
        "the end of an item, 99 % within. An item is put every 20 ms, so that workers are idle, or all "
        "are put at once. A second copy is made when the first one takes longer than 30 ms or than 95 % "
        "of what was done, but where items wait only if it is asked for (`pressing`). Runs of an item "
        "are counted by the workers.",
    ),
    Row(
        "waiting",
        "Memory of a waiting item",
        "B/item",
        "less",
        "Anonymous memory of the process that holds the queue, per waiting item and beyond its "
        "payload, without workers.",
    ),
    Row(
        "drain",
        "Put, then drain",
        "s",
        "less",
        "All items of 8 B are put first, then 2 workers are started and do them.",
    ),
    Row(
        "keys",
        "Keys and priorities",
        "items/s",
        "more",
        "1,000,000 items of 100 B wait; from then on until 2 workers have done them. Of each of 1,000 keys one "
        "item runs at a time, or 8, and there are 5 priorities.",
    ),
    Row(
        "scale",
        "1,000 workers",
        "s",
        "less",
        "1,000 worker processes are started, serve 10,000 items and are stopped.",
    ),
    Row(
        "idle",
        "Supervisor with nothing to do",
        "calls",
        "less",
        "System calls of a supervisor of 8 workers in 5 s, counted by strace.",
    ),
    Row(
        "redis",
        "Small items by way of Redis",
        "items/s",
        "more",
        "100 B each, by way of a redis-server that writes nothing to a disk and is reached over TCP: "
        "from the first `put` until all items are done and acknowledged, with workers that are "
        "started and warm. The server shares the CPUs with everybody. Raw streams are XADD, "
        "XREADGROUP and XACK in pipelines and nothing else; the task queues are as fast as their own "
        "options make them, and get fewer items.",
    ),
    Row(
        "redis-idle",
        "Waiting for items from Redis",
        "ms",
        "less",
        "CPU time in 5 s of everybody who waits for items, and of the redis-server that they wait "
        "for.",
    ),
]


def case(row, name, label, side, script, contender, ours="dishrack", rounds=99, **options):
    return Case(row, name, label, side, script, contender, options, ours, rounds)


def throughput(workers):
    def one(name, label, side, script, contender, items, **more):
        options = dict(workers=workers, items=items)
        return case("throughput", name, label, side, script, contender, **options, **more)

    yield one("dishrack", "dishrack, put and join", "rust", None, "dishrack", 1_000_000)
    label = "dishrack, put_many and join"
    yield one("dishrack-many", label, "rust", None, "dishrack-many", 1_000_000)
    yield one("dishrack-map", "dishrack, map_unordered", "rust", None, "dishrack-map", 1_000_000)
    label = "dishrack, threads"
    yield one("dishrack-threads", label, "rust", None, "dishrack-threads", 1_000_000)
    label = "multiprocessing.JoinableQueue"
    yield one("joinable-queue", label, "python", "joinable.py", "joinable-queue", 100_000)
    pools = [
        ("pool", "Pool.imap_unordered", "python"),
        ("executor", "ProcessPoolExecutor.map", "python"),
        ("loky", "loky executor.map", "loky"),
    ]
    for contender, label, side in pools:
        for chunk, items in ((1, 20_000), (256, 500_000)):
            more = dict(batch=chunk, ours="dishrack-map")
            name, label_ = f"{contender}-{chunk}", f"{label}, chunks of {chunk}"
            yield one(name, label_, side, "pools.py", contender, items, **more)
    for batch, items in ((1, 100_000), (16, 1_000_000), (256, 3_000_000), (1024, 3_000_000)):
        name, label = f"ipc-channel-{batch}", f"raw ipc-channel, batches of {batch}"
        yield one(name, label, "rust", None, "ipc-channel", items, batch=batch)
    label = "threads and crossbeam-channel"
    yield one("crossbeam", label, "rust", None, "crossbeam", 3_000_000, ours="dishrack-threads")
    label = "threads and crossbeam-channel, acknowledged by another"
    more = dict(ours="dishrack-threads")
    yield one("crossbeam-acks", label, "rust", None, "crossbeam-acks", 3_000_000, **more)
    yield one("redis", "Redis stream, pipelined", "redis", "streams.py", "redis", 50_000)


def callers():
    for producers in (1, 2, 4):
        for name, text in (("dishrack", "put"), ("dishrack-many", "put_many")):
            label = f"dishrack, {text} by {producers} thread{'s' if producers > 1 else ''}"
            options = dict(workers=2, items=1_000_000, producers=producers, ours=f"{name}-1")
            yield case("producers", f"{name}-{producers}", label, "rust", None, name, **options)
    getters = [
        ("dishrack", "get and task_done, one thread", 1, 1_000_000),
        ("dishrack-many", "get_many and task_done_many, one thread", 1, 1_000_000),
        ("dishrack-loop", "get and task_done, worker processes", 2, 1_000_000),
        ("dishrack-loop-many", "get_many and task_done_many, worker processes", 2, 1_000_000),
    ]
    for name, label, workers, items in getters:
        options = dict(workers=workers, items=items, ours=name.partition("-many")[0] + "-many")
        yield case("getters", name, f"dishrack, {label}", "rust", None, name, **options)


def round_trip():
    for gap_us, suffix, text in ((0, "", ""), (1000, "-rested", ", after 1 ms")):
        options = dict(items=5000 if gap_us == 0 else 2000, gap_us=gap_us)
        contenders = [
            ("dishrack", "dishrack", "rust", None),
            ("dishrack-loop", "dishrack, a loop of get and task_done", "rust", None),
            ("dishrack-threads", "dishrack, threads", "rust", None),
            ("crossbeam", "threads and a pair of crossbeam-channels", "rust", None),
            ("joinable-queue", "multiprocessing.JoinableQueue", "python", "joinable.py"),
            ("ipc-channel", "raw ipc-channel", "rust", None),
            ("ipc-channel-polling", "raw ipc-channel, polling", "rust", None),
        ]
        for name, label, side, script in contenders:
            ours = "dishrack-threads" if name == "crossbeam" else "dishrack"
            more = dict(ours=ours + suffix, **options)
            yield case("round-trip", name + suffix, label + text, side, script, name, **more)


def large(workers):
    contenders = [
        ("dishrack", "dishrack", "rust", None, 1000),
        ("dishrack-loop", "dishrack, loops of get and task_done", "rust", None, 1000),
        ("dishrack-threads", "dishrack, threads", "rust", None, 2000),
        ("joinable-queue", "multiprocessing.JoinableQueue", "python", "joinable.py", 500),
        ("ipc-channel", "raw ipc-channel, inline", "rust", None, 500),
        ("ipc-channel-shared", "raw ipc-channel, shared memory", "rust", None, 1000),
        ("memcpy", "memcpy", "rust", None, 2000),
    ]
    for name, label, side, script, items in contenders:
        # A copy has no workers, and is measured once.
        if name != "memcpy" or workers == 1:
            options = dict(workers=workers, items=items, bytes=1 << 20, bound=64)
            yield case("large", name, label, side, script, name, **options)


def journal():
    for mode, text in (("none", "no journal"), ("normal", "`normal`"), ("full", "`full`")):
        options = dict(workers=2, items=1_000_000, bound=10_000, ours="dishrack-none")
        name = f"dishrack-{mode}"
        yield case("journal", name, f"dishrack, {text}", "rust", None, name, **options)


def start():
    options = dict(workers=16, items=16)
    for method in ("fork", "spawn"):
        label = f"dishrack, {method}"
        name = f"dishrack-{method}"
        yield case("start", name, label, "rust", None, name, ours="dishrack-fork", **options)
    many = dict(workers=1000, items=1000, ours="dishrack-spawn", rounds=5)
    for method in ("fork", "spawn"):
        name, label = f"dishrack-{method}", f"dishrack, {method}"
        yield case("start-many", name, label, "rust", None, name, **many)
    label = "posix_spawn, two at a time"
    yield case("start-many", "posix-spawn", label, "rust", None, "posix-spawn", **many)
    for method in ("fork", "forkserver", "spawn"):
        name, label = f"python-{method}", f"multiprocessing, {method}"
        ours = "dishrack-spawn" if method == "spawn" else "dishrack-fork"
        yield case("start", name, label, "python", "startup.py", name, ours=ours, **options)


def commands():
    options = dict(workers=2, items=2000)
    contenders = [
        ("dishrack", "dishrack, supervisor -- COMMAND"),
        ("xargs", "xargs -P"),
        ("parallel", "GNU parallel"),
    ]
    for name, label in contenders:
        yield case("commands", name, label, "command", "commands.py", name, **options)
    label = "posix_spawn and wait, two threads"
    yield case("commands", "posix-spawn", label, "rust", None, "posix-spawn", **options)
    for name, label in (contenders[0], contenders[2]):
        yield case("commands-output", name, label, "command", "commands.py", name, **options)


def reader():
    ours = dict(workers=2, items=1_000_000, rounds=3)
    yield case("reader", "dishrack", "dishrack, --worker", "command", "reader.py", "dishrack", **ours)
    theirs = dict(workers=2, items=10_000_000, rounds=3)
    label = "GNU parallel --pipe cat"
    yield case("reader", "parallel", label, "command", "reader.py", "parallel", **theirs)


def computing(cpus):
    contenders = [
        ("dishrack", "dishrack", "rust", None),
        ("dishrack-threads", "dishrack, threads", "rust", None),
        ("joinable-queue", "multiprocessing.JoinableQueue", "python", "joinable.py"),
        ("pool", "Pool.imap_unordered", "python", "pools.py"),
        ("executor", "ProcessPoolExecutor.map", "python", "pools.py"),
    ]
    for row, items in (("busy", 2000), ("mixed", 400)):
        for name, label, side, script in contenders:
            yield case(row, name, label, side, script, name, workers=cpus, items=items)


def many():
    sizes = ((100, 1_000_000, "1m"), (8, 1_000_000, "1m-8"), (100, 10_000_000, "10m"))
    for length, items, name in sizes:
        label = f"dishrack, {items // 1_000_000} M items of {length} B"
        options = dict(items=items, bytes=length, ours=None, rounds=3)
        yield case("waiting", name, label, "rust", None, "dishrack", **options)
    label = "multiprocessing.JoinableQueue, 1 M items of 100 B"
    options = dict(items=1_000_000, ours="1m", rounds=3)
    yield case("waiting", "joinable", label, "python", "joinable.py", "joinable-queue", **options)
    for items, name in ((1_000_000, "1m"), (10_000_000, "10m")):
        label = f"dishrack, {items // 1_000_000} M items"
        options = dict(items=items, workers=2, bytes=8, ours=None, rounds=3)
        yield case("drain", name, label, "rust", None, "dishrack", **options)
    keyed = [
        ("keys", "dishrack, with priorities, one of a key at a time"),
        ("keys-8", "dishrack, with priorities, 8 of a key at a time"),
        ("plain", "dishrack, without"),
    ]
    for name, label in keyed:
        options = dict(items=1_000_000, workers=2, bytes=100, ours="keys")
        yield case("keys", name, label, "rust", None, name, **options)
    label = "multiprocessing.JoinableQueue, 1 M items"
    options = dict(items=1_000_000, workers=2, bytes=8, ours="1m", rounds=2)
    yield case("drain", "joinable", label, "python", "joinable.py", "joinable-queue", **options)
    options = dict(workers=1000, items=10_000, rounds=3)
    for method in ("fork", "spawn"):
        name, label = f"dishrack-{method}", f"dishrack, {method}"
        yield case("scale", name, label, "rust", None, name, ours="dishrack-fork", **options)
    label = "multiprocessing, fork, JoinableQueue"
    more = dict(ours="dishrack-fork", **options)
    yield case("scale", "python-fork", label, "python", "joinable.py", "joinable-queue", **more)
    yield case("idle", "dishrack", "dishrack", "idle", "idle.py", "dishrack", workers=8, rounds=1)


def hedging():
    contenders = [
        ("dishrack-single", "without copies", 20_000),
        ("dishrack-p95", "dishrack, a second copy after p95", 20_000),
        ("dishrack-delay", "dishrack, a second copy after 30 ms", 20_000),
        ("dishrack-single", "without copies, all at once", 0),
        ("dishrack-p95", "dishrack, after p95, all at once", 0),
        ("dishrack-pressing", "dishrack, after p95, pressing, all at once", 0),
    ]
    common = dict(workers=8, items=500, hang_ms=5000, rounds=3)
    for contender, label, gap_us in contenders:
        name = contender.partition("-")[2] + ("" if gap_us else "-at-once")
        ours = "p95" if gap_us else "pressing-at-once"
        options = dict(gap_us=gap_us, ours=ours, **common)
        yield case("hedging", name, label, "rust", None, contender, **options)


def by_redis():
    ours = dict(workers=2, items=500_000)
    yield case("redis", "dishrack", "dishrack, put and join", "rust", None, "dishrack", **ours)
    raw = [
        ("raw-256", "raw streams, batches of 256", "raw", 256),
        ("raw-1000", "raw streams, batches of 1000", "raw", 1000),
        ("raw-socket", "raw streams, batches of 256, Unix socket", "raw-socket", 256),
    ]
    for name, label, contender, batch in raw:
        options = dict(workers=2, items=500_000, batch=batch)
        yield case("redis", name, label, "rust", None, contender, **options)
    python = [
        ("pipelined", "Python, pipelined", "redis", "streams.py", 100_000),
        ("rq", "rq, SimpleWorker", "rq", "rq_jobs.py", 1000),
        ("arq", "arq", "arq", "arq_jobs.py", 2000),
        ("celery", "Celery, acks_late", "celery", "celery_jobs.py", 2000),
    ]
    for name, label, side, script, items in python:
        yield case("redis", name, label, side, script, name, workers=2, items=items)
    waiting = [
        ("dishrack", "dishrack, two workers that wait", 2),
        ("raw", "raw streams, consumers in XREADGROUP", 2),
        ("alone", "redis-server with no client", 0),
    ]
    for name, label, workers in waiting:
        yield case("redis-idle", name, label, "idle", "idle_cpu.py", name, workers=workers, rounds=3)


def all_cases(cpus):
    for workers in (1, 2):
        yield from throughput(workers)
    yield from callers()
    yield from round_trip()
    for workers in (1, 2):
        yield from large(workers)
    yield from journal()
    yield from start()
    yield from commands()
    yield from reader()
    yield from computing(cpus)
    yield from hedging()
    yield from many()
    yield from by_redis()


def at_least(bound):
    return f"at least {bound:g}", lambda figure: figure >= bound


def at_most(bound):
    return f"at most {bound:g}", lambda figure: figure <= bound


def between(low, high):
    return f"{low:g} to {high:g}", lambda figure: low <= figure <= high


def targets(cpus):
    """In the order of the rows."""

    def one(row, what, name, other, workers, goal, figure="value"):
        text, is_met = goal
        return Target(row, (what, text), name, other, workers, is_met, figure)

    for workers in (1, 2):
        on = f", {workers} worker{'s' if workers > 1 else ''}"
        what = "put and join / JoinableQueue" + on
        yield one("throughput", what, "dishrack", "joinable-queue", workers, at_least(10))
        what = "map_unordered / Pool.imap_unordered, chunks of 256" + on
        yield one("throughput", what, "dishrack-map", "pool-256", workers, at_least(3))
        what = "put and join / raw ipc-channel, batches of 256" + on
        yield one("throughput", what, "dishrack", "ipc-channel-256", workers, at_least(0.75))
        what = "put_many and join / raw ipc-channel, batches of 256" + on
        yield one("throughput", what, "dishrack-many", "ipc-channel-256", workers, at_least(1))
        what = "threads, put and join / crossbeam-channel, acknowledged by another" + on
        yield one("throughput", what, "dishrack-threads", "crossbeam-acks", workers, at_least(0.7))
    what = "threads, round trip / a pair of crossbeam-channels"
    yield one("round-trip", what, "dishrack-threads", "crossbeam", 1, at_most(1.5))
    for suffix, text in (("", ""), ("-rested", ", after 1 ms")):
        ours, other = "dishrack" + suffix, "joinable-queue" + suffix
        what = "round trip / JoinableQueue" + text
        yield one("round-trip", what, ours, other, 1, at_most(0.1))
        what, other = "round trip / raw ipc-channel, polling" + text, "ipc-channel-polling" + suffix
        yield one("round-trip", what, ours, other, 1, at_most(0.8))
    for workers in (1, 2):
        on = f", {workers} worker{'s' if workers > 1 else ''}"
        what = "large items / JoinableQueue" + on
        yield one("large", what, "dishrack", "joinable-queue", workers, at_least(4))
    what = "journal `normal` / without"
    yield one("journal", what, "dishrack-normal", "dishrack-none", 2, at_least(0.9))
    what = "journal `full` / without"
    yield one("journal", what, "dishrack-full", "dishrack-none", 2, at_least(0.8))
    what = "start: fork / multiprocessing, fork"
    yield one("start", what, "dishrack-fork", "python-fork", 16, at_most(0.5))
    what = "start: spawn / multiprocessing, spawn"
    yield one("start", what, "dishrack-spawn", "python-spawn", 16, at_most(0.25))
    what = "1,000 started: spawn / posix_spawn of the program, two at a time"
    yield one("start-many", what, "dishrack-spawn", "posix-spawn", 1000, at_most(2))
    what = "1,000 started: fork / spawn"
    yield one("start-many", what, "dishrack-fork", "dishrack-spawn", 1000, at_most(0.6))
    what = "a command for each item / xargs -P"
    yield one("commands", what, "dishrack", "xargs", 2, at_most(0.8))
    what = "a command for each item / two threads of posix_spawn and wait"
    yield one("commands", what, "dishrack", "posix-spawn", 2, at_most(1.3))
    what = "a command for each item / GNU parallel"
    yield one("commands", what, "dishrack", "parallel", 2, at_most(0.4))
    what = "a command with 1 KiB of output, in order / GNU parallel"
    yield one("commands-output", what, "dishrack", "parallel", 2, at_most(0.15))
    yield one("busy", "efficiency with items of 1 ms, %", "dishrack", None, cpus, at_least(97))
    yield one("mixed", "longest idle time, ms", "dishrack", None, cpus, at_most(5))
    hedged = [
        ("p95", "single", "a second copy after p95"),
        ("delay", "single", "a second copy after 30 ms"),
        ("pressing-at-once", "single-at-once", "after p95, pressing, all at once"),
    ]
    for name, other, text in hedged:
        what = f"1 of 50 hangs, {text} / without copies"
        yield one("hedging", f"{what}: 99 % within", name, other, 8, at_most(0.2))
        yield one("hedging", f"{what}: runs", name, other, 8, at_most(1.1), "runs")
    for name, text in (("1m", "1 M of 100 B"), ("1m-8", "1 M of 8 B"), ("10m", "10 M of 100 B")):
        yield one("waiting", f"bytes beyond the payload, {text}", name, None, 1, at_most(64))
    yield one("drain", "time for 10 M / 1 M items", "10m", "1m", 2, between(9, 11))
    yield one("keys", "1,000 keys and 5 priorities / none", "keys", "plain", 2, at_least(0.8))
    yield one("keys", "the same, 8 of a key at a time", "keys-8", "plain", 2, at_least(0.8))
    yield one("keys", "bytes more for each item with keys", "keys", None, 2, at_most(24), "bytes")
    yield one("idle", "system calls when idle", "dishrack", None, 8, at_most(0))
    what = "by way of Redis / raw streams, batches of 256"
    yield one("redis", what, "dishrack", "raw-256", 2, at_least(0.65))
    for name, label in (("rq", "rq"), ("arq", "arq"), ("celery", "Celery")):
        yield one("redis", f"by way of Redis / {label}", "dishrack", name, 2, at_least(10))
