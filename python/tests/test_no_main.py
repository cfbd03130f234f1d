"""Programs whose main module has no file: `python -c`, stdin, a console, a notebook."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import textwrap

import pytest
from conftest import PATIENCE

HAS_CLOUDPICKLE = importlib.util.find_spec("cloudpickle") is not None

#: What a program says of itself, and what workers send back.
PROGRAM = """
import dishrack

class Cup:
    def __init__(self, number):
        self.number = number

FACTOR = 3

def wash(number):
    return Cup(number * FACTOR)

def refuse(cup):
    raise KeyError(cup.number)

def consume(queue, results):
    results.put([queue.get().number, isinstance(queue.get(), Cup)])
    queue.task_done()
    queue.task_done()

with dishrack.Pool(2) as pool:
    cups = pool.map(wash, range(4))
    print([cup.number for cup in cups], all(isinstance(cup, Cup) for cup in cups))
    try:
        pool.apply(refuse, (Cup(5),))
    except KeyError as error:
        print(error)
with dishrack.ProcessPoolExecutor(1) as executor:
    print(executor.submit(wash, 2).result().number)
queue, results = dishrack.JoinableQueue(), dishrack.Queue()
process = dishrack.Process(target=consume, args=(queue, results))
process.start()
queue.put(Cup(7))
queue.put(Cup(8))
queue.join()
print(results.get())
process.join()
print(process.exitcode)
"""

EXPECTED = "[0, 3, 6, 9] True\n5\n6\n[7, True]\n0\n"

#: As IPython's kernel does it: the main module is replaced by one without a file.
CONSOLE = f"""
import code, sys, types
namespace = types.ModuleType({{name!r}})
if {{name!r}} == "__main__":
    sys.modules["__main__"] = namespace
console = code.InteractiveConsole(namespace.__dict__)
console.runcode(compile({PROGRAM!r}, "<cell>", "exec"))
"""


def run(words, program=None):
    done = subprocess.run(
        [sys.executable, *words], input=program, capture_output=True, text=True, timeout=PATIENCE
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(not HAS_CLOUDPICKLE, reason="cloudpickle is not installed")
@pytest.mark.parametrize("how", ["-c", "stdin", "__main__", "__console__"])
def test_what_such_a_program_defines_goes_to_its_workers(how):
    words, program = {
        "-c": (["-c", PROGRAM], None),
        "stdin": (["-"], PROGRAM),
        "__main__": (["-c", CONSOLE.format(name="__main__")], None),
        "__console__": (["-c", CONSOLE.format(name="__console__")], None),
    }[how]
    assert run(words, program) == (0, EXPECTED, "")


#: Runs the cells that it is given, and prints what each has printed.
NOTEBOOK = """
import json, sys
import nbclient, nbformat.v4 as v4

notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source in sys.argv[1:]])
notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
nbclient.NotebookClient(notebook).execute()
print(json.dumps(["".join(one.text for one in cell.outputs) for cell in notebook.cells]))
"""

#: In an event loop, as each cell of a notebook is.
AWAITED = """
async with dishrack.ProcessPoolExecutor(1) as executor:
    print([cup.number async for cup in executor.async_map(wash, range(3))])
"""


@pytest.mark.skipif(not HAS_CLOUDPICKLE, reason="cloudpickle is not installed")
def test_a_notebook_runs():
    for needed in ("ipykernel", "nbclient"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    code, output, errors = run(["-c", NOTEBOOK, PROGRAM, AWAITED])
    assert (code, output) == (0, json.dumps([EXPECTED, "[0, 3, 6]\n"]) + "\n"), errors


def test_without_cloudpickle_it_is_an_error_that_says_what_to_do():
    program = """
        import sys
        sys.modules["cloudpickle"] = None
        import dishrack

        def wash(number):
            return number

        class Cup:
            pass

        def told(call):
            try:
                call()
            except Exception as error:
                print(type(error).__name__, error)

        with dishrack.Pool(1) as pool:
            told(lambda: pool.apply(wash, (1,)))
            told(lambda: pool.map(print, [Cup()]))
            print(pool.apply(len, (["__main__"],)))
        told(lambda: dishrack.Queue().put(Cup()))
        told(lambda: dishrack.Process(target=wash, args=(1,)).start())
    """
    code, output, errors = run(["-c", textwrap.dedent(program)])
    lines = output.splitlines()
    assert (code, errors, lines[2]) == (0, "", "1")
    for line, name in zip(lines[:2] + lines[3:], ["wash", "Cup", "Cup", "wash"]):
        assert line.startswith(f"PicklingError {name} is defined in a main module without a file")
        assert "install cloudpickle" in line
