"""What one sees in the first minutes: what there is to type, what there is to learn in, a run's first and last lines."""

from __future__ import annotations

import importlib
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, job

from perla_net.__main__ import COMMANDS
from perla_net.ground.errors import InputError
from perla_net.ground.text import about
from perla_net.records import display
from perla_net.settings.config import Config
from perla_net.settings.options import validated
from perla_net.simulation import words
from perla_net.simulation.prepare import prepare
from perla_net.simulation.words import first_lines, last_lines
from perla_net.world import catalogue
from perla_net.world.environments import SUITES, make

ENV = "traffic:grid:rows=1,columns=2,horizon=5"
SMALL = ["--env", ENV, "--rounds", "3", "--copies", "2", "--horizon", "5", "--evaluate-episodes", "1"]


def test_every_command_is_named():
    """On less than a screen of 80 columns."""
    house = ROOT / "perla_net"
    there = {file.stem for file in house.glob("*.py")} - {"__init__", "__main__"}
    there |= {file.parent.name for file in house.glob("*/__main__.py")}
    assert {name.partition(" ")[0] for commands in COMMANDS.values() for name in commands} == there
    text = job(0, "perla_net").stdout
    assert len(text.splitlines()) <= 28 and max(map(len, text.splitlines())) <= 80
    assert all(f"python -m perla_net.{name} " in text for name in there)
    assert job(0, "perla_net", "--help").stdout == text


@pytest.mark.parametrize(("word", "hint"), [("evaluat", "type python -m perla_net.evaluate"), ("zzz", "type it alone")])
def test_words_behind_the_program(word, hint):
    done = job(0, "perla_net", word, check=False)
    assert done.returncode == 2 and hint in done.stderr and not done.stdout


def test_suites_that_are_not_installed_have_a_line_each(monkeypatch):
    there = catalogue.find_spec
    monkeypatch.setattr(catalogue, "find_spec", lambda name: None if name in ("lbforaging", "rware") else there(name))
    done = job(0, "perla_net.environments", "platoon", "lbf", "rware:tiny-2ag").stdout
    lines = done.splitlines()
    assert lines[0].startswith("platoon: ") and lines[0].endswith("(licence: MIT)") and len(done.splitlines()) == 8
    assert lines[-3:] == [
        'not installed; pip install -c constraints.txt ".[NAME]" adds one:',
        f"  lbf         {SUITES['lbf'].about}",
        f"  rware       {SUITES['rware'].about}",
    ]
    assert all(suite.extra == name for name, suite in SUITES.items() if suite.packages), "what .[NAME] says"


def test_an_environment_that_cannot_be_made_has_a_line_of_its_own(monkeypatch):
    """The table has its rows and columns all the same."""

    def broken(env, *arguments):
        if env == "platoon:slowdown":
            raise InputError(f"--env {env}: needs pygame; install it")
        return make(env, *arguments)

    monkeypatch.setattr(catalogue, "make", broken)
    lines = job(0, "perla_net.environments", "platoon").stdout.splitlines()
    assert lines[2].split() == ["platoon:catchup", "8", "5", "4", "7", "edges"]
    assert lines[3] == "  --env platoon:slowdown: needs pygame; install it"


def test_the_tables_fit_80_columns():
    text = job(0, "perla_net.environments", *(name for name, suite in SUITES.items() if not suite.packages)).stdout
    assert max(map(len, text.splitlines())) <= 80 and "sioux_falls" in text


def lines_of(config: Config, ranks: int = 1, hosts: int = 1, done: int = 0) -> list[str]:
    plan = prepare(validated(config))
    return first_lines(plan, plan.team(), ranks, hosts, done).splitlines()


def test_first_lines():
    """What, who, where, how long; then a row for each kind of agent."""
    lines = lines_of(Config())
    assert lines[0] == "16 agents learn traffic:grid with perla_ippo: 50 rounds of 7,680 steps"
    assert [line.split()[0] for line in lines[1:5]] == ["time", "ranks", "topology", "perla_ippo"]
    assert "20 episodes of evaluation" in lines[1] and "interaction, 48 directed edges" in lines[3]
    assert lines[4].endswith("4 agents: trajectory form, exact (64 joint actions)") and len(lines) == 7
    assert max(map(len, lines)) <= 80


def test_first_lines_of_others():
    """Nobody learns; some do; a run that is continued; a graph that changes."""
    nobody = lines_of(Config(env="traffic:grid", algorithm="controller:max_pressure", evaluate_episodes=0))
    assert nobody[0].startswith("16 agents, none of whom learns, in traffic:grid with controller:max_pressure: ")
    assert nobody[1].endswith("told after the first round")
    mixed = Config(topology="ring+complete", rounds=1)
    mixed.agents.overrides = {"0": {"algorithm": "controller:max_pressure"}, "1": {"algorithm": "iql"}}
    lines = lines_of(mixed, 4, 2)
    assert lines[0].startswith(
        "15 of 16 agents learn traffic:grid with perla_ippo, controller:max_pressure, iql: 1 round of"
    )
    assert "4, of which 2 host 64 copies" in lines[2] and lines[3].endswith("directed edges at first, changing")
    assert lines_of(replace(Config(), rounds=60), done=50)[0].endswith("rounds 51 to 60 of 7,680 steps")


def test_last_lines_work_as_they_are(tmp_path, monkeypatch):
    """A run's own last lines, typed: figures, page and film are there."""
    monkeypatch.chdir(tmp_path)
    out = job(0, "perla_net.run", *SMALL, "--display", "plain", "--out", str(tmp_path / "a run")).stdout.splitlines()
    assert out[0].startswith(f"2 agents learn {ENV} with perla_ippo") and "about" in out[5] and "took" in out[7]
    assert out[-4] == f"run's folder: {tmp_path / 'a run'}"
    titles, typed = zip(*(line.split(maxsplit=1) for line in out[-3:]))
    assert titles == ("evaluate:", "report:", "film:")
    for line in typed:
        python, flag, module, *arguments = shlex.split(line)
        assert (python, flag) == ("python", "-m") and tmp_path / "a run" == Path(arguments[0])
        main = importlib.import_module({"perla_net.report": "perla_net.report.command"}.get(module, module)).main
        assert main([*arguments[:-1], "1"] if "--episodes" in arguments else arguments) == 0
    assert (tmp_path / "report.html").stat().st_size and (tmp_path / "film.gif").stat().st_size


def test_last_lines_say_what_is_missing(monkeypatch):
    """An extra that is not installed, or an environment that cannot be drawn."""
    spread = make("spread", 1, 2)
    assert "mpirun -n 3 python -m perla_net.evaluate" in last_lines(Path("runs/a"), 3, spread)
    monkeypatch.setattr(words, "find_spec", lambda name: None)
    lines = last_lines(Path("runs/a"), 1, spread).splitlines()
    assert lines[2:] == [
        'report:   first pip install -c constraints.txt ".[report]"',
        'film:     first pip install -c constraints.txt ".[film]"',
    ]
    assert "film" not in last_lines(Path("runs/a"), 1, make("pettingzoo:toys", 1, None)), "renders nothing"
    assert "film" in last_lines(Path("runs/a"), 1, make("lbf:8x8-2p-2f", 1, None))


def test_a_run_that_shows_nothing_says_nothing(tmp_path):
    done = job(0, "perla_net.run", *SMALL, "--display", "none", "--out", str(tmp_path / "run"))
    assert done.stdout == done.stderr == ""


def test_time_left_leaves_out_the_first_round(monkeypatch, capsys):
    """Which may load, or fill a memory; a live line ends where the terminal does, and has the most telling first."""
    clock = iter([0.0, 100.0, 110.0, 120.0])
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    monkeypatch.setenv("COLUMNS", "40")
    progress = display.Progress("live", 30, 0)
    for done in (1, 2, 3):
        progress.show({"round": done, "team_return": -15080.9, "figures": {"delay": 257.0}}, 7680, 483e3)
    shown = [line.removeprefix("\033[K").rstrip() for line in capsys.readouterr().out.split("\r")[1:]]
    assert [line[:24].rstrip() for line in shown] == [
        "round  1/30  about 48 mi", "round  2/30  about 5 min", "round  3/30  about 4 min"
    ]  # fmt: skip
    assert all(len(line) <= 39 for line in shown)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (59.6, "60 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (5969, "99 min"),
        (7800, "2 h 10 min"),
        (273600, "3 d 4 h"),
    ],
)
def test_times_as_one_says_them(seconds, text):
    assert about(seconds) == text
