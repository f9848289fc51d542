"""What README.md and docs/ show: commands of the program are run, smaller where they would take long and in this process where
mpirun would start them; programs of benchmarks/ and tests that are named are there, and so is what is quoted."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(str(file.relative_to(ROOT)) for file in sorted((ROOT / "docs").rglob("*.md"))),
]
SMALL = "--rounds 1 --copies 2 --horizon 5 --ppo.minibatch 8 --evaluate-episodes 1 --display none".split()
ELSEWHERE = (
    "pip",
    "cd",
    "launch/",
    "sbatch",
    "qsub",
    "kubectl",
    "srun",
    "SLURM_HOSTFILE=",
    "REQUEUE=",
    "tensorboard",
    "wandb",
    "zensical",
)
"""Begins of commands that other tests run (test_launch.py, .ci/run), or that need what is not here."""

FILLED = {
    "SPEC": "ring",
    "ENV": "spread",
    "FOLDER": "RUN",
    "FILE.yaml": "docs/examples/study.yaml",
    "studies/NAME": "STUDY",
}
"""Words in capitals in the pages' sentences → what stands for them here."""
MAINS = {
    "perla_net": "perla_net.__main__",
    "perla_net.report": "perla_net.report.command",
    "perla_net.theory": "perla_net.theory.__main__",
    "perla_net.gain": "perla_net.gain.__main__",
    "perla_net.methods": "perla_net.methods.__main__",
}
"""Modules whose command line is elsewhere."""
LONG = (
    "flagship",
    "when_it_pays",
    "no_harm",
    "who_hears_whom",
    "methods",
    "methods_smoke",
    "talking",
    "platoon",
    "networked",
)
"""Studies of minutes to hours, of which only the plan is made here."""
LONGER = {"OTHER": "50", "runs/team": "30", "runs/talk": "20"}
"""Runs of which the pages name checkpoints that these small ones would not have."""
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def stand_in(run: Path, number: str) -> None:
    """A copy of the checkpoint of round 1 as that of another round."""
    folder = run / "checkpoints" / number
    shutil.copytree(run / "checkpoints" / "1", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"round": int(number)}))


def blocks(page: str, kind: str) -> list[str]:
    """Contents of a page's fenced blocks of one language ('': none)."""
    return [text for language, text in FENCED.findall((ROOT / page).read_text()) if language == kind]


def commands(page: str) -> list[str]:
    """Command lines in a page's blocks, without comments, and those in its sentences, their words in capitals filled in."""
    lines = [line for block in blocks(page, "") for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    starts = ("python ", "mpirun ", "PYTHONPATH=", "cmp ", *ELSEWHERE)
    shown = [re.sub(r"\s+#.*", "", line) for line in lines if line.startswith(starts)]
    for line in re.findall(r"`(python [^`…]*)`", FENCED.sub("", (ROOT / page).read_text())):
        line = re.sub(r" \[.*\]", "", " ".join(line.split())).replace("perla_net.methods NAME", "perla_net.methods iql")
        shown.append(re.sub(r"\b(SPEC|ENV|FOLDER|FILE\.yaml|studies/NAME)\b", lambda word: FILLED[word[0]], line))
    return shown


SHOWN = {line: page for page in reversed(PAGES) for line in commands(page) if not line.startswith(ELSEWHERE)}
"""Command → the first page that shows it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which the commands find what they name: the examples, runs of two teams, a small study."""
    place = tmp_path_factory.mktemp("docs")
    for folder in ("examples", "studies"):
        shutil.copytree(ROOT / "docs" / folder, place / "docs" / folder)
    file = place / "docs" / "examples" / "study.yaml"
    study = yaml.safe_load(file.read_text())
    study["options"] |= {"rounds": 1, "copies": 2, "horizon": 5, "ppo.minibatch": 8}
    study |= {"seeds": [0], "evaluate": {"points": 1, "episodes": 1}}
    file.write_text(yaml.safe_dump(study))
    for name, options in (
        ("traffic", ["--env", "traffic:grid:horizon=10", "--agents", "16"]),
        ("spread", ["--env", "spread", "--agents", "4"]),
        ("talk", ["--env", "games:relay", "--agents", "2", "--topology", "line", "--algorithm", "commnet"]),
    ):
        out = ["--out", str(place / name)]
        arguments = [sys.executable, "-W", "ignore", "-m", "perla_net.run", *options, *SMALL, *out]
        subprocess.run(arguments, check=True, timeout=120, cwd=ROOT)
    names = {
        "spread": ("runs/a", "runs/b", "runs/c", "runs/first"),
        "traffic": ("RUN", "OTHER", "runs/team"),
        "talk": ("runs/talk",),
    }
    for source, copies in names.items():
        for copy in copies:
            shutil.copytree(place / source, place / copy)
    for run, number in LONGER.items():
        stand_in(place / run, number)
    arguments = [sys.executable, "-W", "ignore", "-m", "perla_net.study", str(file), "--out", "STUDY"]
    subprocess.run(arguments, check=True, timeout=300, cwd=place, capture_output=True)
    for name in ("spread", "topologies", *LONG):
        shutil.copytree(place / "STUDY", place / "studies" / name)
    return place


def test_every_fence_is_of_a_kind_that_is_looked_at():
    for page in PAGES:
        assert {kind for kind, _ in FENCED.findall((ROOT / page).read_text())} <= {"", "python", "yaml"}, page


def test_the_pages_show_commands():
    assert len(SHOWN) > 40 and len(set(SHOWN.values())) > 8


@pytest.mark.parametrize("line", SHOWN, ids=[f"{Path(page).stem}: {line}"[:80] for line, page in SHOWN.items()])
def test_a_command_works(place, monkeypatch, capsys, line):
    page = SHOWN[line]
    monkeypatch.chdir(place)
    words = shlex.split(line)
    if "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        assert name == "PYTHONPATH"
        monkeypatch.syspath_prepend(str(place / value))
    if words[0] == "cmp":
        assert Path(words[1]).read_bytes() == Path(words[2]).read_bytes()
        return
    agents = []
    if words[0] == "mpirun":  # all in this process: the numbers are the same, see test_jobs.py
        agents, words = ["--agents", "4" if words[2] == "4" else "16"], words[3:]
    assert words[0] == "python"
    if words[1] != "-m":
        assert (ROOT / words[1]).is_file(), "a program of benchmarks/ that is not there"
        return
    module, arguments = words[2], words[3:]
    if module == "pytest":
        return  # what -k finds: see below
    if module == "perla_net.run" and "--help" not in arguments:
        arguments = changed(page, arguments, agents)
    monkeypatch.setenv("WANDB_MODE", "offline")
    if page in ("docs/environments.md", "README.md"):
        monkeypatch.syspath_prepend(str(place / "docs" / "examples"))
    if module == "perla_net.evaluate":
        arguments = [
            word.replace("sumo:grid4x4", "sumo:grid4x4:horizon=20") for word in (*arguments, "--episodes", "1")
        ]
    for name in LONG:
        if any(Path(word).name == f"{name}.yaml" for word in arguments):
            shutil.rmtree(place / "studies" / name)
            assert main_of(module)([*arguments, "--dry-run"]) == 0
            shutil.copytree(place / "STUDY", place / "studies" / name)
            return
    if module == "perla_net.theory":  # as it is in test_theory.py; theorem 6 alone takes twenty seconds
        arguments = [*arguments, "--steps", "0", "--repetitions", "5000"]
    if module == "perla_net.gain":  # as it is in test_gain.py
        arguments = [*arguments, "--states", "4", "--draws", "2", "--futures", "2", "--horizon", "2"]
    if "--wandb" in arguments:
        importlib.import_module("wandb").teardown()  # which keeps what another test told it
    status = main_of(module)(arguments)
    for run in LONGER.keys() & set(arguments) if module == "perla_net.run" else ():
        stand_in(place / run, LONGER[run])
    unfinished = 1 if "--collect" in arguments else 0  # of a study that nobody has run
    assert status in (0, None, unfinished), capsys.readouterr().err


def main_of(module: str):
    return importlib.import_module(MAINS.get(module, module)).main


def test_tests_that_the_pages_name_are_there():
    """`pytest -k EXPRESSION` and `pytest FILE` find something."""
    arguments = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", "addopts=", "tests"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120)
    names = [line.lower() for line in done.stdout.splitlines() if "::" in line]
    assert len(names) > 1000
    asked = [shlex.split(line)[3:] for line in SHOWN if line.startswith("python -m pytest")]
    assert len(asked) > 4
    for words in asked:
        if words[:1] == ["-k"]:
            parts = [part.split(" and ") for part in words[1].lower().split(" or ")]
            for part in parts:
                assert any(all(word in name for word in part) for name in names), part
        elif words[:1] != ["-m"] and words[:1] != ["-n"]:
            assert all((ROOT / word).exists() for word in words), words


def changed(page: str, arguments: list[str], agents: list[str]) -> list[str]:
    """The arguments of a run that takes a second."""
    if "--resume" in arguments:
        return [*arguments, "--rounds", "2", "--display", "none"]
    small = list(SMALL)
    if "--evaluate-points" in arguments:
        small += ["--evaluate-points", "1"]
    out = [] if "--out" in arguments else ["--out", f"runs/{abs(hash((page, *arguments, *agents)))}"]
    if "--out" in arguments:
        shutil.rmtree(arguments[arguments.index("--out") + 1], ignore_errors=True)
    return [*arguments, *agents, *small, *out]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_a_program_works(place, monkeypatch, page):
    monkeypatch.chdir(place)
    for text in blocks(page, "python"):
        if "perla_net.train" in text:  # the README's: a run of its own, and an observation that is not defined
            text = text.replace("rounds=10", "rounds=1, horizon=5, evaluate_episodes=1").replace('/ "10"', '/ "1"')
            text = text.replace("agent.act(observation)", "agent.act([0] * agent.spec.observation_size)")
        exec(compile(text, page, "exec"), {})


def test_what_is_quoted_is_what_is_there():
    examples = ROOT / "docs" / "examples"
    assert yaml.safe_load(blocks("docs/heterogeneous.md", "yaml")[0]) == yaml.safe_load(
        (examples / "team.yaml").read_text()
    )
    whole = yaml.safe_load((examples / "study.yaml").read_text())
    assert blocks("docs/studies.md", "yaml")[0] in (examples / "study.yaml").read_text()
    assert yaml.safe_load(blocks("docs/tutorial.md", "yaml")[0]).items() <= whole.items()
    assert blocks("docs/methods.md", "python")[0].strip() in (examples / "own_loss.py").read_text()
    assert blocks("docs/extending.md", "python")[0].strip() == (examples / "own_method.py").read_text().strip()
    assert blocks("docs/talking.md", "python")[1].strip() == (examples / "own_message.py").read_text().strip()
    assert yaml.safe_load(blocks("docs/methods.md", "yaml")[0]) == yaml.safe_load((examples / "kinds.yaml").read_text())


def test_the_flagship_studys_tables_are_those_of_its_runs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("flagship_tables").tables()
    shown = (ROOT / "docs" / "studies" / "flagship.md").read_text()
    for table in tables.strip().split("\n\n"):
        assert len(table.splitlines()) == 14 and table in shown


def test_the_tables_of_the_methods_are_those_of_their_runs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    program = importlib.import_module("methods_table")
    shown = (ROOT / "docs" / "studies" / "methods.md").read_text()
    for file in (program.FILE, program.FILE.with_name("smoke.csv")):
        tables = program.tables(file).strip().split("\n\n")
        assert len(tables) == 8 and all(table in shown for table in tables)


def test_the_tables_of_messages_are_those_of_their_runs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("talking_tables").tables().strip().split("\n\n")
    shown = (ROOT / "docs" / "studies" / "talking.md").read_text()
    assert len(tables) == 11 and all(table in shown for table in tables)


def test_the_tables_of_networked_methods_are_those_of_their_runs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    tables = importlib.import_module("networked_tables").tables().strip().split("\n\n")
    shown = (ROOT / "docs" / "studies" / "networked.md").read_text()
    assert len(tables) == 12 and all(table in shown for table in tables)


def test_the_tables_of_when_it_pays_are_those_of_its_curves(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    program = importlib.import_module("when_it_pays")
    shown = (ROOT / "docs" / "studies" / "when_it_pays.md").read_text()
    curves = program.read(*(file for file in program.FILES if file.is_file()))
    tables = program.tables(curves).strip()
    assert tables.count("| setting |") >= 15
    for table in tables.split("\n\n"):
        assert table in shown
    assert program.prediction_table(program.points(curves, program.PREDICTED)) in shown


def test_programs_that_reproduce_figures_are_there():
    found = re.findall(r"(?:benchmarks/)?(\w+\.py)", (ROOT / "docs" / "reproducing.md").read_text())
    assert len(found) > 15
    for name in found:
        assert (ROOT / "benchmarks" / name).is_file(), name


def test_pages_made_of_the_program_are_up_to_date(monkeypatch):
    """What `python docs/reference/generate.py` would write; of suites that take seconds to make, that every name is there."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "reference"))
    program = importlib.import_module("generate")
    assert (ROOT / "docs" / "reference" / "options.md").read_text() == program.options()
    shown = (ROOT / "docs" / "reference" / "environments.md").read_text()
    for suite, facts in program.SUITES.items():
        for name in facts.names:
            assert f"| {f'{suite}:{name}'.rstrip(':')} |" in shown, (suite, name)
        if not facts.extra:
            assert program.of_suite(suite) in shown, suite


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    """Every cell, with a smaller team."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    text = (ROOT / "docs" / "examples" / "tour.ipynb").read_text()
    smaller = text.replace("agents=32", "agents=8").replace("rounds=12", "rounds=3").replace("range(32)", "range(8)")
    assert smaller.count("agents=8") == 1
    book = nbformat.reads(smaller, 4)
    NotebookClient(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    done = [cell for cell in book.cells if cell.cell_type == "code"]
    assert len(done) >= 6 and all(cell.execution_count for cell in done)
    assert sum("image/png" in str(cell.outputs) for cell in done) == 2


def test_links_from_the_first_pages_lead_somewhere():
    """The site checks those of its own pages, anchors and all; README.md and CONTRIBUTING.md are not among them."""
    for page in ("README.md", "CONTRIBUTING.md"):
        links = re.findall(r"\]\(([^)]+)\)", (ROOT / page).read_text())
        assert links
        for link in links:
            path, _, anchor = link.partition("#")
            if path.startswith("https:"):
                continue
            assert (ROOT / path).exists(), (page, link)
            heads = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.MULTILINE) if anchor else []
            assert not anchor or anchor in [re.sub(r"[^\w-]", "", head.lower().replace(" ", "-")) for head in heads], (
                link
            )


def test_the_site_is_built_without_a_warning(tmp_path):
    """Its links and anchors lead somewhere, and every page is in the navigation."""
    for name in ("docs", "perla_net"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    arguments = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    told = (ROOT / "zensical.toml").read_text()
    for page in PAGES[2:]:
        name = page.removeprefix("docs/").removesuffix(".md")
        built = tmp_path / "site" / ("index.html" if name == "index" else f"{name}/index.html")
        assert built.is_file() and f'"{name}.md"' in told, page
