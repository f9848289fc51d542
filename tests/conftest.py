"""How tests start jobs: the mpirun at hand, with a time limit on each, and small run folders."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import standing

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # as in jobs: threads of two tests at once would wait for each other's cores

import pytest
import torch

ROOT = Path(__file__).parent.parent


def pytest_addoption(parser):
    parser.addoption(
        "--many",
        type=float,
        default=1.0,
        metavar="F",
        help="random cases of each property test, as a multiple of the usual number",
    )


@pytest.fixture
def many(request):
    """How many random cases a property test looks at, from its usual number (``--many 20``: twenty times as many)."""
    return lambda usual: max(1, round(usual * request.config.getoption("--many")))


@pytest.fixture(autouse=True)
def fixed_seed():
    """Inputs that a test draws from torch are the same in every run."""
    torch.manual_seed(0)


def find_mpirun() -> str | None:
    """The mpirun beside this Python, else the one on PATH."""
    beside = Path(sys.executable).parent / "mpirun"
    return str(beside) if beside.exists() else shutil.which("mpirun")


MPIRUN = find_mpirun()


def is_open_mpi() -> bool:
    """True when that mpirun is Open MPI's."""
    if not MPIRUN:
        return False
    text = subprocess.run([MPIRUN, "--version"], capture_output=True, text=True, timeout=30).stdout
    return "Open MPI" in text or "PRTE" in text.upper()


OPEN_MPI = is_open_mpi()


def command(ranks: int, module: str, *arguments: str) -> list[str]:
    """A command line that runs a module of the program (or a script) on so many ranks; 0: without mpirun."""
    target = [module] if module.endswith(".py") else ["-m", module]
    python = [sys.executable, "-W", "ignore", *target, *arguments]
    if not ranks:
        return python
    assert MPIRUN, "no mpirun: install the test extra, or an MPI"
    extra = ["--oversubscribe"] if OPEN_MPI else []
    return [MPIRUN, *extra, "-n", str(ranks), *python]


TEMPORARY = tempfile.TemporaryDirectory(prefix="perla-jobs-", ignore_cleanup_errors=True)
"""What jobs put into temporary folders; removed when the tests end."""


def environment() -> dict[str, str]:
    """The environment of a job: Open MPI may run as root in containers, and finds a temporary folder of its own.

    A killed mpirun of Open MPI leaves a folder named after its process there, and the next with that number refuses to start ("The PMIx
    server's listener thread failed to start").
    """
    place = tempfile.mkdtemp(dir=TEMPORARY.name)
    return os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "TMPDIR": place}


STANDING: dict[int, standing.Standing] = {}
"""Ranks that wait for jobs, by their number."""
PLAIN: dict[str, str] = {}
"""The environment in which they were started; whoever changes it has a job of its own."""
TOGETHER = ("PATH", "PYTHONPATH", "HOME", "LC_ALL", "LANG")


def pytest_collection_finish():
    """What modules of tests add to the environment is there now."""
    PLAIN.update({name: os.environ.get(name, "") for name in TOGETHER})


def pytest_sessionfinish():
    """No rank outlives the tests."""
    for ranks in STANDING.values():
        ranks.end()


def job(
    ranks: int, module: str, *arguments: str, timeout: float = 150, check: bool = True, process: bool = False
) -> subprocess.CompletedProcess:
    """Run a job to its end. With ``check``, a failure shows its output.

    A module of the program that should end well runs in processes that have torch already: without mpirun (no ranks) in this one, else
    on ranks that stay for the next (see standing.py). With ``process``, or where it may fail, in processes of its own.
    """
    if process or module.endswith(".py") or (ranks and not check):
        done = _anew(ranks, module, arguments, timeout)
    elif not ranks:
        done = here(module, arguments)
    elif any(os.environ.get(name, "") != value for name, value in PLAIN.items()):
        done = _anew(ranks, module, arguments, timeout)
    else:
        if ranks not in STANDING or not STANDING[ranks].alive:
            script = str(Path(standing.__file__))
            STANDING[ranks] = standing.Standing(command(ranks, script), ranks, environment(), ROOT)
        done = STANDING[ranks].run(module, arguments, timeout)
    if check:
        assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def _anew(ranks: int, module: str, arguments: tuple[str, ...], timeout: float) -> subprocess.CompletedProcess:
    """The same in processes that are started for it."""
    return subprocess.run(
        command(ranks, module, *arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
    )


def here(module: str, arguments: tuple[str, ...]) -> subprocess.CompletedProcess:
    """What ``python -m module arguments`` does, without a new process."""
    from perla_net.ground.entry import entry

    found = importlib.import_module(module)
    if not hasattr(found, "main"):  # a folder of that name
        found = importlib.import_module(f"{module}.__main__")
    out, err = io.StringIO(), io.StringIO()
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = entry(found.main, list(arguments))
    finally:
        os.chdir(before)
    return subprocess.CompletedProcess([module, *arguments], status, out.getvalue(), err.getvalue())


SMALL = ("--copies", "4", "--horizon", "20", "--rounds", "3", "--ppo.minibatch", "32", "--evaluate-episodes", "0")
"""Options of a run that takes a second or two."""


def run(folder: Path, ranks: int, *arguments: str, **settings) -> bytes:
    """A small run into ``folder``; its metrics."""
    job(ranks, "perla_net.run", *SMALL, "--out", str(folder), *arguments, **settings)
    return (folder / "metrics.jsonl").read_bytes()


def rows(folder: Path) -> list[dict]:
    """The metrics of a run."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


needs_mpirun = pytest.mark.skipif(MPIRUN is None, reason="no mpirun on this machine")
