"""What methods are not for: the table of ``benchmarks/refusals.py``, and that no refusal of a method is missing in it."""

from __future__ import annotations

import ast
import sys
import traceback
from pathlib import Path

import pytest
from conftest import ROOT, job

from perla_net.methods.registry import METHODS

METHODS_HOUSE = ROOT / "perla_net" / "methods"


@pytest.fixture(scope="module")
def table():
    """Rows and what they are refused with."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import refusals

    yield [(row, refusals.refusal(row), refusals.as_it_should) for row in refusals.table()]
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_is_not_for(table, name):
    """Something at least, and one sentence each."""
    rows = [row for row in table if row[0].method == name]
    assert rows and not [(row.settings, str(error)) for row, error, right in rows if not right(row, error)]


def checks() -> set[tuple[str, int]]:
    """Files and lines of what methods refuse of a team: InputErrors in functions called check…, but for those that look at a class, an option
    or a name by itself."""
    found = set()
    for file in METHODS_HOUSE.glob("*.py"):
        if file.stem in ("registry", "losses"):
            continue
        for function in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(function, ast.FunctionDef)
                and function.name.startswith("check")
                and function.name != "check_class"
            ):
                found |= {(file.stem, node.lineno) for node in ast.walk(function) if isinstance(node, ast.Raise)}
    return found


def test_no_refusal_is_missing(table):
    """Every InputError of a method's checks is raised by some row."""
    frames = [traceback.extract_tb(error.__traceback__)[-1] for _, error, _ in table if error]
    raised = {
        (Path(frame.filename).stem, frame.lineno) for frame in frames if Path(frame.filename).parent == METHODS_HOUSE
    }
    assert len(checks()) > 20 and not checks() - raised


def test_exit_status(tmp_path):
    """On the command line: one line, status 2, no folder."""
    done = job(
        0,
        "perla_net.run",
        "--env",
        "voltage:ieee33",
        "--algorithm",
        "qmix",
        "--out",
        str(tmp_path / "run"),
        check=False,
    )
    assert done.returncode == 2 and done.stderr.startswith("perla_net: --algorithm qmix: is for discrete actions")
    assert done.stderr.count("\n") == 1 and not (tmp_path / "run").exists()
