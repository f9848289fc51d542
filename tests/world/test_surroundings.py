"""Where a run lives: folders that two want, a home, a full disk, a locale without some letters, a reader that goes away."""

from __future__ import annotations

import ast
import json
import os
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL, command, environment, job, rows, run

from perla_net.ground.errors import InputError
from perla_net.records import checkpoint, claim
from perla_net.settings.config import Config
from perla_net.settings.options import validated
from perla_net.simulation.running import plan_of

SPREAD = ("--env", "spread", "--agents", "3")


def shell(text: str, folder, **variables) -> subprocess.CompletedProcess:
    """What bash does with a line in a folder."""
    settings = environment() | {"PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, timeout=120, cwd=folder, env=settings, errors="replace"
    )


def words(*arguments: str) -> str:
    return shlex.join(command(0, *arguments))


def test_runs_that_begin_together_have_a_folder_each(tmp_path):
    lines = [
        words("perla_net.run", *SMALL, *SPREAD, "--seed", "1", "--rounds", str(k), "--display", "none")
        for k in (1, 2, 3, 4)
    ]
    done = shell(" & ".join(lines) + " & wait", tmp_path)
    folders = list((tmp_path / "runs").iterdir())
    assert len(folders) == 4, done.stderr
    assert sorted(len(rows(folder)) for folder in folders) == [1, 2, 3, 4]


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path):
    run(tmp_path / "run", 0, *SPREAD)
    claim.again(tmp_path / "run")
    script = "import sys; from perla_net.ground.entry import entry; from perla_net.run import main; sys.exit(entry(main, sys.argv[1:]))"
    arguments = [sys.executable, "-c", script, "--resume", str(tmp_path / "run"), "--rounds", "4"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 2 and "a run is still writing it" in done.stderr
    claim.release(tmp_path / "run")
    assert subprocess.run(arguments, capture_output=True, timeout=60, cwd=ROOT).returncode == 0
    for _ in range(2):
        done = job(0, "perla_net.run", *SMALL, *SPREAD, "--out", str(tmp_path / "run"), check=False)
        assert done.returncode == 2 and "is there already and not empty" in done.stderr


def test_a_folder_is_only_made_for_a_run_that_can_begin(tmp_path):
    assert (
        job(
            0, "perla_net.run", *SPREAD, "--topology", "grid:rows=2", "--out", str(tmp_path / "x"), check=False
        ).returncode
        == 2
    )
    assert not (tmp_path / "x").exists()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("/nowhere/disk")
    for place, sentence in (
        (tmp_path / "file", "cannot be made"),
        (tmp_path / "file" / "run", "cannot be made"),
        (tmp_path / "link", "cannot be made"),
        (tmp_path / ("x" * 300), "no file can be called that"),
        (tmp_path / "a\0b", "no file can be called that"),
    ):
        with pytest.raises(InputError, match=sentence):
            plan_of(validated({"env": "spread", "agents": 3, "out": str(place)}), 1)
    (tmp_path / "runs").symlink_to("/nowhere/disk")
    done = shell(words("perla_net.run", *SMALL, *SPREAD), tmp_path)
    assert done.returncode == 2 and "--out runs/" in done.stderr and "cannot be made" in done.stderr


def test_a_long_environment_makes_no_long_name(tmp_path):
    (tmp_path / "module.py").write_text("from quirks import parallel_env\n")
    env = "pettingzoo:module:kind=arguments,name=" + "x" * 400
    done = shell(
        words("perla_net.run", *SMALL, "--env", env), tmp_path, PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}:{tmp_path}"
    )
    (folder,) = (tmp_path / "runs").iterdir()
    assert done.returncode == 0 and len(folder.name) < 200 and len(rows(folder)) == 3


def test_a_run_is_where_it_began(tmp_path):
    """Whatever an environment does to the working folder; folders of one's own among the checkpoints stay, and a run whose folder goes
    away says so."""
    env = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    line = words(
        "perla_net.run", *SMALL, "--env", "pettingzoo:quirks:kind=moves", "--out", "run", "--checkpoint-every", "1"
    )
    assert shell(line, tmp_path, **env).returncode == 0
    assert len(rows(tmp_path / "run")) == 3 and len(checkpoint.sealed(tmp_path / "run")) == 2
    (tmp_path / "run" / "checkpoints" / "mine").mkdir()
    assert shell(words("perla_net.run", "--resume", "run", "--rounds", "4"), tmp_path, **env).returncode == 0
    assert (tmp_path / "run" / "checkpoints" / "mine").is_dir()
    line = words("perla_net.run", *SMALL, *SPREAD, "--rounds", "100000", "--out", "gone")
    done = shell(
        f"({line}; echo $?) & while [ ! -s gone/metrics.jsonl ]; do sleep 0.1; done; rm -rf gone; wait", tmp_path
    )
    assert done.stdout.splitlines()[-1] == "1" and "gone: is gone; somebody removed it" in done.stderr


def test_home_is_meant_by_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "options.yaml"
    file.write_text("out: ~/deep/run\ntopology: ~/graph.edgelist\nagents: 3\nenv: spread\n")
    (tmp_path / "graph.edgelist").write_text("0 1\n1 2\n")
    job(0, "perla_net.run", *SMALL, "--config", "~/options.yaml")
    assert len(rows(tmp_path / "deep" / "run")) == 3
    job(0, "perla_net.evaluate", "~/deep/run", "--episodes", "1", "--out", "~/figures.json")
    job(0, "perla_net.watch", "~/deep/run", "--once")
    assert json.loads((tmp_path / "figures.json").read_text())
    assert validated(Config(resume="~/deep/run")).resume == str(tmp_path / "deep" / "run")
    with pytest.raises(InputError, match="there is no home folder of that user"):
        validated(Config(out="~nobody_at_all/x"))


ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def test_a_locale_without_letters(tmp_path):
    """Everything works; a letter that the terminal lacks is replaced, and files are UTF-8 all the same."""
    assert shell(words("perla_net.run", "--help"), tmp_path, **ASCII).returncode == 0
    done = shell(words("perla_net.environments", "platoon", "games"), tmp_path, **ASCII)
    assert done.returncode == 0 and "2?2" not in done.stdout
    (tmp_path / "options.yaml").write_text("# ä: a comment with letters\nrounds: 2\n", encoding="utf-8")
    line = words(
        "perla_net.run", *SMALL, "--config", "options.yaml", "--env", "pettingzoo:quirks:kind=names,names=letters", "--out", "Zoë",
        "--evaluate-episodes", "2", "--topology", "complete",
    )  # fmt: skip
    done = shell(line, tmp_path, PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}", **ASCII)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "Zoë"
    assert "信号" in (folder / "ledger.csv").read_text(encoding="utf-8")
    done = shell(words("perla_net.watch", "Zoë", "--once"), tmp_path, **ASCII)
    assert done.returncode == 0, done.stderr


def test_text_is_utf_8_whatever_the_locale():
    """Every file that the program reads or writes as text says so; what is written by others' libraries is theirs."""
    wrong = []
    for file in sorted((ROOT / "perla_net").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            given = {keyword.arg for keyword in node.keywords}
            text = name in ("read_text", "write_text") or (
                name == "open" and not any("b" in mode for mode in modes[-1:])
            )
            owner = getattr(getattr(node.func, "value", None), "id", "")
            if (
                text
                and "encoding" not in given
                and owner not in ("os", "self", "worker")
                and "worker" not in ast.dump(node.func)
            ):
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert wrong == []


def test_a_reader_that_goes_away_does_not_end_a_run(tmp_path):
    line = words("perla_net.run", *SMALL, *SPREAD, "--rounds", "8", "--evaluate-episodes", "1", "--out", "run")
    done = shell(f"{line} | head -n 1; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert done.stdout.splitlines()[-1] == "0" and len(rows(tmp_path / "run")) == 8, done.stderr
    assert (tmp_path / "run" / "evaluation.json").is_file() and "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_log_on_a_full_disk_does_not_end_a_run(tmp_path):
    """It is said at the end, and no success."""
    done = shell(words("perla_net.run", *SMALL, *SPREAD, "--out", "run") + " > /dev/full", tmp_path)
    assert len(rows(tmp_path / "run")) == 3 and (tmp_path / "run" / "checkpoints" / "3").is_dir()
    assert done.returncode == 1 and done.stderr.count("could not be written (No space left on device)") == 1, (
        done.stderr
    )
    assert shell(words("perla_net.environments", "spread") + " >&- 2>&-", tmp_path).returncode == 0


def test_a_full_disk_is_a_sentence_and_older_checkpoints_stay(tmp_path):
    """The limit on a file's size stands in for a disk that becomes full (same place, same kind of error)."""
    run(tmp_path / "run", 0, *SPREAD, "--rounds", "2")
    before = checkpoint.sealed(tmp_path / "run")
    line = words("perla_net.run", "--resume", str(tmp_path / "run"), "--rounds", "4", "--checkpoint-every", "1")
    done = shell(f"ulimit -f 30; {line}", tmp_path)
    said = [text for text in done.stderr.splitlines() if text.startswith("perla_net: ")]
    assert done.returncode == 1 and len(said) == 1 and "cannot be written (File too large)" in said[0], done.stderr
    assert "Traceback" not in done.stderr and str(tmp_path / "run" / "checkpoints" / "3") in said[0]
    assert checkpoint.sealed(tmp_path / "run") == before and not (tmp_path / "run" / "checkpoints" / "3").exists()
    job(0, "perla_net.run", "--resume", str(tmp_path / "run"), "--rounds", "4")
    assert len(rows(tmp_path / "run")) == 4


def test_as_a_library_it_leaves_the_order_of_sets_alone(tmp_path):
    for seed in (None, "7"):
        line = f"{sys.executable} -c \"import os, perla_net; print(os.environ.get('PYTHONHASHSEED'))\""
        assert shell(line, tmp_path, **({"PYTHONHASHSEED": seed} if seed else {})).stdout.strip() == str(seed)
