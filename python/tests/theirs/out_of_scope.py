"""What is out of scope of others' tests, and why: the tables of docs/python-tests.md."""

import pathlib

PAGE = pathlib.Path(__file__).resolve().parents[3] / "docs" / "python-tests.md"


def reasons():
    """Why a test is not for us, by the name of its class or suite, a dot, and its own."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    return {f"{row[0]}.{row[1]}": row[2] for row in rows if len(row) == 3 and row[1][:5] == "test_"}


def fault(name, end, reasons):
    """What is wrong with a test that has ended so ("passes", "fails", "hangs", "skipped"), or `None`."""
    if name in reasons:
        return "is out of scope, and passes" if end == "passes" else None
    return end if end in ("fails", "hangs") else None
