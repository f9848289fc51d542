"""The house: folders in order, imports that run one way, and no circle anywhere (DESIGN, "Layout")."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import networkx as nx
import pytest
from conftest import ROOT

import perla_net

HOUSE = Path(__file__).parents[1] / "perla_net"
ORDER = [
    "ground",  # ranks, errors, files, text: knows nothing of learning agents
    "settings",  # every option, typed and validated
    "world",  # environments, hosts and copies, rollouts
    "network",  # graphs, exchange, links, averaging, ledger
    "learning",  # networks over flat vectors, distributions, embedding
    "records",  # a run's folder, written and read
    "methods",  # how an agent acts and learns
    "simulation",  # the four lines; plan, evaluation, films
    "studies",  # many runs, and what can be said of them
    "report",
    "theory",
    "gain",
]
"""Each folder may use those above it. The commands (files at the top, and each folder's ``__main__``) may use all of them."""
COMMANDS = {"run", "evaluate", "study", "watch", "topology", "environments", "placement", "launch", "__main__"}
PUBLIC = "__init__"
"""Loads what ``import perla_net`` offers, when it is asked for."""


def module_name(file: Path) -> str:
    """Dotted, below ``perla_net``."""
    return ".".join(file.relative_to(HOUSE).with_suffix("").parts)


FILES = {module_name(file): file for file in sorted(HOUSE.rglob("*.py")) if "__pycache__" not in file.parts}


def imports_of(name: str) -> set[str]:
    """The modules of the house that a module imports, anywhere in it: local imports count, those for annotations only too."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {
                _existing(alias.name.split(".")[1:]) for alias in node.names if alias.name.split(".")[0] == "perla_net"
            }
        elif isinstance(node, ast.ImportFrom):
            module = node.module.split(".") if node.module else []
            if node.level:
                package = name.split(".")[: -node.level]
                assert len(name.split(".")) >= node.level, f"{name} imports from outside the house"
            elif module[:1] == ["perla_net"]:
                package, module = [], module[1:]
            else:
                continue
            found |= {_existing([*package, *module, alias.name]) for alias in node.names}
    return found - {name}


def _existing(parts: list[str]) -> str:
    """The module that a dotted name stands for, or is in."""
    for length in range(len(parts), 0, -1):
        for name in (".".join(parts[:length]), ".".join([*parts[:length], "__init__"])):
            if name in FILES:
                return name
    return PUBLIC


def place_of(name: str) -> int:
    """How high a module stands: what it may import stands at most as high."""
    folder, _, rest = name.partition(".")
    return len(ORDER) if not rest or rest == "__main__" else ORDER.index(folder)


def test_every_folder_has_its_place() -> None:
    """No folder beside the list, none in it that is gone; at the top only what one types."""
    assert {name.partition(".")[0] for name in FILES if "." in name} == set(ORDER)
    assert {name for name in FILES if "." not in name} == COMMANDS | {PUBLIC}


@pytest.mark.parametrize("name", [name for name in FILES if name != PUBLIC])
def test_imports_run_one_way(name: str) -> None:
    """Nothing is imported from a folder further on, and commands are imported by nobody."""
    for other in imports_of(name):
        if other == PUBLIC:
            continue
        assert place_of(other) < len(ORDER), f"{name} imports the command {other}"
        assert place_of(other) <= place_of(name), f"{name} imports {other}"


def test_there_is_no_circle() -> None:
    """Not even inside a folder, and not by a local import."""
    graph = nx.DiGraph(
        [(name, other) for name in FILES if name != PUBLIC for other in imports_of(name) if other != PUBLIC]
    )
    circles = [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]
    assert not circles


def test_this_test_can_fail() -> None:
    """A local import counts, and so does one of a module of a package."""
    tree = "def f():\n    from ..simulation import plan\n"
    assert isinstance(ast.parse(tree).body[0], ast.FunctionDef)
    assert "world.world" in imports_of("simulation.evaluation")
    assert "simulation.simulation" in imports_of("simulation.running")


def test_the_checked_files_are_there():
    """mypy passes over nothing in silence, but a public module that is not on its list is not checked."""
    listed = set(re.findall(r'"(\S+\.py)"', (ROOT / "pyproject.toml").read_text()))
    homes = {f"perla_net/{module.replace('.', '/')}.py" for module in perla_net._HOMES.values()}
    assert {"tests/typed_use.py", "perla_net/__init__.py"} | homes <= listed


def test_every_folder_is_installed():
    """What is not among setup.py's packages works in the checkout and is missing wherever the program is installed."""
    installed = set(re.findall(r'"(perla_net[.\w]*)"', (ROOT / "setup.py").read_text()))
    folders = {file.parent.relative_to(ROOT).as_posix().replace("/", ".") for file in ROOT.glob("perla_net/**/*.py")}
    assert folders <= installed
