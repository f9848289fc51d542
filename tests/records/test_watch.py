"""Following a run from its folder: what is shown, of a run that has not begun, goes on, falls silent, is resumed, ends."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ROOT, command, environment, job

from perla_net.ground.errors import InputError
from perla_net.records.run_folder import rows_of
from perla_net.records.view import BLOCKS, View, curve
from perla_net.settings.config import Config
from perla_net.simulation.running import train
from perla_net.watch import main

ROUNDS = 6


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that is over."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    config = Config(
        env="games:climbing:graph=ring",
        copies=2,
        horizon=25,
        rounds=ROUNDS,
        evaluate_episodes=2,
        evaluate_points=2,
        display="none",
        out=str(folder),
    )
    config.agents.number = 4
    train(config)
    return folder


@pytest.fixture
def folder(whole, tmp_path) -> Path:
    """The same run in its third round: the lines that are still to come are cut off."""
    place = tmp_path / "run"
    shutil.copytree(
        whole, place, ignore=shutil.ignore_patterns("checkpoints", "points", "evaluation.json", "absolute.json")
    )
    for name in ("metrics.jsonl", "timings.jsonl", "evaluations.jsonl"):
        grow(whole, place, name, 3)
    return place


def grow(whole: Path, place: Path, name: str, rounds: int) -> None:
    """Let a file have the rows up to a round."""
    kept = [
        line for line in (whole / name).read_text().splitlines(keepends=True) if json.loads(line)["round"] <= rounds
    ]
    (place / name).write_text("".join(kept))


def test_curve():
    assert curve(range(8), 8) == BLOCKS
    assert curve(range(16), 8) == BLOCKS  # means of pairs
    assert curve([3.0] * 5, 10) == BLOCKS[0] * 5 and curve([], 10) == ""
    assert curve([0, None, 7], 3) == BLOCKS[0] + " " + BLOCKS[7]
    assert curve([None, None], 2) == "  " and curve([1, float("nan"), 2], 3)[1] == " "


def test_view_is_what_the_files_say(whole, folder):
    view = View(folder)
    assert view.look() and not view.over and view.done == 3
    metrics, points = rows_of(folder / "metrics.jsonl"), rows_of(folder / "evaluations.jsonl")
    text = "\n".join(view.block(100, 60, time.time()))
    assert f"round 3/{ROUNDS}" in text and "running; last line 0:0" in text
    assert f"team return {metrics[-1]['team_return']:,.4g}" in text
    for name, value in zip(("player_0", "player_3"), (metrics[-1]["agent_returns"][k] for k in (0, 3))):
        assert re.search(rf"{name} \S+\s+{re.escape(f'{value:,.4g}')}", text)
    assert view.sent == sum(row["bytes"] for row in metrics)
    assert f"evaluation at round {points[-1]['round']}: {sum(points[-1]['figures']['return']) / 2:,.4g}" in text
    seconds = sorted(row["seconds"] for row in rows_of(folder / "timings.jsonl"))[1]
    assert view.seconds() == seconds and "0:0" in re.search(r"(\S+) left, until \d\d:\d\d", text)[1]
    assert not view.look()
    done = View(whole)
    done.look()
    assert done.over and "over" in done.block(80, 24, time.time())[1] and "left" not in "".join(done.block(80, 24, 0.0))


def test_lines_fit_the_terminal(folder):
    view = View(folder)
    view.look()
    for width, height in ((20, 5), (57, 9), (80, 24), (200, 50)):
        block = view.block(width, height, time.time())
        assert len(block) <= height and max(map(len, block)) <= width
    full = view.block(40, 99, time.time())
    assert view.block(40, len(full) - 2, time.time())[-1] == "… and 3 more agents"


def test_half_a_line_is_waited_for(whole, folder):
    view = View(folder)
    view.look()
    fourth = (whole / "metrics.jsonl").read_text().splitlines(keepends=True)[3]
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(fourth[:50])
        file.flush()
        assert not view.look() and view.done == 3
        file.write(fourth[50:])
    assert view.look() and view.done == 4


def test_resumed_run_is_read_anew(whole, folder):
    view = View(folder)
    view.look()
    draft = folder / "draft"
    draft.write_text("".join((whole / "metrics.jsonl").read_text().splitlines(keepends=True)[:2]))
    os.replace(draft, folder / "metrics.jsonl")  # as the recorder does it after --resume
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace(f"rounds: {ROUNDS}", "rounds: 40"))
    os.utime(folder / "config.yaml", (1e9, 1e9))
    assert view.look() and view.done == 2 and view.options["rounds"] == 40
    assert view.sent == sum(row["bytes"] for row in rows_of(whole / "metrics.jsonl")[:2])


def test_run_that_has_not_begun_or_fell_silent(folder, tmp_path):
    early = View(tmp_path / "later")
    assert not early.look() and "is not there yet" in early.state(time.time())
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "config.yaml").write_text("algorithm: perla_ippo\nshare: [")
    assert not early.look() and "no complete config.yaml" in " ".join(early.block(80, 24, time.time()))
    shutil.copy(folder / "config.yaml", tmp_path / "later")
    assert early.look() and early.state(time.time()).startswith("running; started")
    view = View(folder)
    view.look()
    now = (folder / "metrics.jsonl").stat().st_mtime
    assert view.state(now + 5).startswith("running; last line 0:05 ago")
    assert view.state(now + 200).startswith("silent: last line 3:20 ago")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--once"], ["nowhere", "no such folder"]),
        (["FILE"], ["config.yaml", "is a file"]),
        (["RUN", "--interval", "0"], ["--interval 0", "0.05"]),
        (["BROKEN", "--once"], ["metrics.jsonl, line 2"]),
        (["OTHERS", "--once"], ["others", "not those of a run"]),
    ],
)
def test_bad_input_is_one_sentence(folder, tmp_path, arguments, words):
    places = {
        "RUN": folder,
        "FILE": folder / "config.yaml",
        "BROKEN": tmp_path / "broken",
        "OTHERS": tmp_path / "others",
    }
    shutil.copytree(folder, places["OTHERS"])
    (places["OTHERS"] / "metrics.jsonl").write_text('{"round": 1}\n')
    shutil.copytree(folder, places["BROKEN"])
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (places["BROKEN"] / "metrics.jsonl").write_text(lines[0] + "no row\n" + lines[2])
    with pytest.raises(InputError) as caught:
        main([str(places.get(text, text)) for text in arguments])
    for word in words:
        assert word in str(caught.value)


def test_once(whole):
    done = job(0, "perla_net.watch", str(whole), "--once", timeout=60, process=True)
    assert f"round {ROUNDS}/{ROUNDS}" in done.stdout and "player_3" in done.stdout and "\033" not in done.stdout


def test_it_stays_in_place_on_a_terminal_and_ends_with_the_run(whole, folder):
    parent, child = pty.openpty()
    watch = subprocess.Popen(
        command(0, "perla_net.watch", str(folder), "--interval", "0.1"),
        stdin=child,
        stdout=child,
        stderr=child,
        cwd=ROOT,
        env={name: value for name, value in environment().items() if name != "LINES"} | {"COLUMNS": "72"},
    )
    os.close(child)
    shown = ""

    def until(text: str) -> None:
        nonlocal shown
        end = time.monotonic() + 60
        while text not in shown:
            assert time.monotonic() < end, shown
            if select.select([parent], [], [], 1)[0]:
                try:
                    shown += os.read(parent, 65536).decode(errors="replace")
                except OSError:  # what Linux says when nobody has the other end open any more
                    assert text in shown, shown

    try:
        until(f"round 3/{ROUNDS}")
        for name in ("metrics.jsonl", "timings.jsonl", "evaluations.jsonl"):
            grow(whole, folder, name, ROUNDS)
        until(f"round {ROUNDS}/{ROUNDS}")
        until("evaluating")
        assert watch.poll() is None
        shutil.copy(whole / "evaluation.json", folder)
        until("  over")
        assert watch.wait(60) == 0
    finally:
        watch.kill()
        watch.wait(20)
        os.close(parent)
    blocks = re.split(r"\033\[\d+F\033\[J", shown)
    assert len(blocks) > 2 and all(
        len(line) <= 72 for block in blocks for line in block.replace("\033[J", "").splitlines()
    )
