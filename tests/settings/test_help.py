"""``--help``: the first page, groups, one option, everything, and what does not exist."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from conftest import ROOT, job

from perla_net.ground.errors import InputError
from perla_net.methods import registry
from perla_net.settings.checking import flag, flat
from perla_net.settings.config import Config
from perla_net.settings.help import FIRST, page, topic

NAMES = [name for name, *_ in flat(Config) if not name.startswith("agents.")]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_first_page(monkeypatch, columns):
    """Fifteen options on one screen, each with its default."""
    monkeypatch.setenv("COLUMNS", str(columns))
    text = page("")
    named = re.findall(r"^  (--(?!help)\S+)", text, re.MULTILINE)
    assert len(named) == 15 and set(named) <= {flag(name) for name in [*NAMES, "config", "agents"]}
    assert max(map(len, text.splitlines())) < columns and len(text.splitlines()) <= 42
    assert "[traffic:grid]" in text and "[64]" in text and "--help all" in text
    assert sum(map(len, FIRST.values())) == 15


def test_everything_lists_every_option():
    text = page("all")
    shown = set(re.findall(r"^ *(--\S+) [A-Z]", text, re.MULTILINE))
    assert {flag(name) for name in NAMES} | {"--config", "--agents"} <= shown
    for method in registry.sections():
        names = {name for name, *_ in flat(registry.options(method, "test"))}
        assert all(flag(f"{method}.{name}") in shown for name in names) or f"{flag(method)}.…" in text, method
    assert "Passes over a round's rollout. [integer; default 8]" in " ".join(text.split())


@pytest.mark.parametrize(
    "about", ["links.loss", "--links.loss", "loss_good", "links.loss-good", "qmix.batch", "agents"]
)
def test_one_option(about):
    if "." not in about and about != "agents":
        with pytest.raises(InputError, match="did you mean links.loss-good"):
            page(about)
        return
    lines = page(about).splitlines()
    assert lines[0].startswith(f"--{about.removeprefix('--')} ") and "default" in " ".join(lines)


@pytest.mark.parametrize("about", ["links", "run", "agent", "ppo", "perla_iql"])
def test_a_group(about):
    flags = re.findall(r"^  (--\S+) ", page(about), re.MULTILINE)
    if about in ("run", "agent"):
        assert all("." not in name for name in flags) and ("--rounds" in flags) == (about == "run")
    else:
        assert flags and all(name.startswith(f"{flag(about)}.") for name in flags)


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        ("links.lost", "--help links.lost: there is no such option or group of options; did you mean links.loss"),
        ("--qmix.bach", "did you mean qmix.batch"),
        ("loss", "did you mean links.loss?"),
        ("zzzzz", "`--help all` lists every option"),
        ("method", "`python -m perla_net.methods MODULE.CLASS` lists them"),
    ],
)
def test_what_does_not_exist_is_one_sentence(about, sentence):
    done = job(0, "perla_net.run", "--help", about, check=False)
    assert done.returncode == 2 and not done.stdout
    assert sentence in done.stderr and done.stderr.count("\n") == 1


def test_what_help_is_asked_for():
    assert topic(["--rounds", "3"]) is None and topic(["--rounds", "3", "-h"]) == ""
    assert topic(["--help", "links", "--rounds", "3"]) == topic(["--help=links"]) == "links"


def test_help_needs_neither_torch_nor_an_extra():
    """Nor does `python -m perla_net`: what nobody waits for."""
    heavy = {"torch", "scipy", "mpi4py", "matplotlib", "plotly", "gymnasium", "pettingzoo"}
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({heavy}))\n"
        "from perla_net.__main__ import main; main([])\n"
        "from perla_net.run import main; [main(['--help', *about]) for about in ([], ['links'], ['links.loss'])]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "python -m perla_net.run" in done.stdout and "--links.loss X" in done.stdout
