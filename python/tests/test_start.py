"""Start methods, the fork server that all share, and what a process is given when it starts."""

from __future__ import annotations

import os
import signal

import dishrack
import pytest
from conftest import PATIENCE, children_of, is_fork_server, until


def fork_servers():
    """The fork servers of this process."""
    return {pid for pid in children_of(os.getpid()) if is_fork_server(pid)}


def pid(_=None):
    return os.getpid()


def test_a_forkserver_is_the_default_way():
    assert dishrack.get_all_start_methods()[0] == "forkserver"
    assert dishrack.get_start_method() == "forkserver"
    assert dishrack.get_context().get_start_method() == "forkserver"


def put_method(results):
    results.put(dishrack.get_start_method())


def test_the_way_is_set_once_and_children_have_it():
    results = dishrack.Queue()
    with pytest.raises(RuntimeError, match="already been set"):
        dishrack.set_start_method("spawn")
    dishrack.set_start_method("spawn", force=True)
    try:
        process = dishrack.Process(target=put_method, args=(results,))
        process.start()
        assert results.get(timeout=PATIENCE) == "spawn"
        process.join()
    finally:
        dishrack.set_start_method("forkserver", force=True)
    with pytest.raises(ValueError, match="concrete"):
        dishrack.get_context("spawn").set_start_method("spawn")


def test_there_is_no_plain_fork_and_it_says_what_to_do():
    with pytest.raises(ValueError, match="set_forkserver_preload"):
        dishrack.get_context("fork")
    with pytest.raises(ValueError, match="cannot find context for 'knife'"):
        dishrack.set_start_method("knife", force=True)
    assert dishrack.get_start_method() == "forkserver"


def test_all_are_forked_from_one_server():
    results = dishrack.Queue()
    processes = [dishrack.Process(target=put_method, args=(results,)) for _ in range(3)]
    for process in processes:
        process.start()
    with dishrack.Pool(2) as pool, dishrack.ProcessPoolExecutor(2) as executor:
        assert pool.apply(pid) != executor.submit(pid).result()
        # Until it runs, what is forked has the name of its server.
        for _ in processes:
            results.get(timeout=PATIENCE)
        until(lambda: len(fork_servers()) == 1, "the workers have names of their own")
        (server,) = fork_servers()
        assert not fork_servers_below(server)
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert fork_servers() == {server}


def fork_servers_below(server):
    """What the server has for children: its workers are this process's."""
    return children_of(server)


def test_a_killed_server_costs_nothing():
    with dishrack.Pool(1) as pool:
        before = pool.apply(pid)
        for _ in range(10):
            for server in fork_servers():
                os.kill(server, signal.SIGKILL)
            # This one may be ordered while it is dying.
            process = dishrack.Process(target=signal.pause)
            process.start()
            assert pool.apply(pid) == before
            # What it has just forked still has its name.
            for server in fork_servers() - {process.pid}:
                os.kill(server, signal.SIGKILL)
            process.terminate()
            process.join(PATIENCE)
            assert process.exitcode == -signal.SIGTERM
        os.kill(before, signal.SIGKILL)
        assert pool.apply(pid) != before


@pytest.mark.parametrize(("way", "loads"), [("each", "2\n"), ("once", "1\n")])
def test_the_main_module_can_be_loaded_once(program, way, loads):
    process = program("loaded.py", way)
    assert process.communicate(timeout=PATIENCE) == (loads, "")
    assert process.returncode == 0


def put_inside(rack, names):
    for name in names:
        rack.put(name)
    rack.join()


def hand_on(rack, target, *arguments):
    process = dishrack.Process(target=target, args=(rack, *arguments))
    process.start()
    process.join()
    os._exit(process.exitcode & 0xFF)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_hands_its_parents_queue_on(method):
    context = dishrack.get_context(method)
    rack = context.JoinableQueue()
    process = context.Process(target=hand_on, args=(rack, put_inside, ["cup", "fork"]))
    process.start()
    for name in ["cup", "fork"]:
        assert rack.get(timeout=PATIENCE) == name
        rack.task_done()
    process.join(PATIENCE)
    assert process.exitcode == 0


def get_and_die(rack):
    rack.get()
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_died_in_a_childs_child_comes_back():
    rack = dishrack.JoinableQueue()
    rack.put("cup")
    process = dishrack.Process(target=hand_on, args=(rack, get_and_die))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL & 0xFF
    assert rack.get(timeout=PATIENCE) == "cup"
    rack.task_done()


kept = None


def keep(connection, value):
    global kept
    kept = connection, value


def send_pid():
    connection, value = kept
    with value.get_lock():
        value.value += 1
        connection.send(os.getpid())
    return os.getpid()


def pools(kind, *arguments):
    return getattr(dishrack, kind)(2, initializer=keep, initargs=arguments)


@pytest.mark.parametrize("kind", ["Pool", "ProcessPoolExecutor"])
def test_every_worker_is_given_the_open_files_of_its_initializer(kind):
    ours, theirs = dishrack.Pipe(duplex=False)
    value = dishrack.Value("i", 0)
    with pools(kind, theirs, value) as pool:
        call = pool.apply if kind == "Pool" else lambda function: pool.submit(function).result()
        # The third one at the latest has the place of another.
        for number in range(1, 4):
            worker = call(send_pid)
            assert ours.recv() == worker
            assert value.value == number
            os.kill(worker, signal.SIGKILL)
    theirs.close()
    with pytest.raises(EOFError):
        ours.recv()
    ours.close()


def close(connection):
    connection.close()


def test_a_pipe_whose_end_a_process_was_given_ends_with_it():
    ours, theirs = dishrack.Pipe(duplex=False)
    process = dishrack.Process(target=close, args=(theirs,))
    process.start()
    theirs.close()
    with pytest.raises(EOFError):
        ours.recv()
    ours.close()
    process.join()


def test_killed_workers_take_no_calls():
    executor = dishrack.ProcessPoolExecutor(1)
    left = executor.submit(signal.pause)
    until(left.running, "it runs")
    calls = executor._calls
    executor.kill_workers()
    with pytest.raises(dishrack.NoWorkersLeft):
        left.result(PATIENCE)
    with pytest.raises(dishrack.Error):
        calls.submit(executor._targets.get(pid, "apply"), ((), {}), None)
    del calls
