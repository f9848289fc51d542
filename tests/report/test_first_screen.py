"""The report's first screen: what it ranks, and the page of a study of 27 runs in a browser, on a desk and on a telephone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import started

from perla_net.records.run_folder import Curve, Run, open_run
from perla_net.report import content, overview
from perla_net.report.command import main
from perla_net.report.drawing import plotly_source

browser = pytest.fixture(scope="module")(started)
AGENTS, ROUNDS = 16, 200
NAMES = [f"agent_{k}" for k in range(AGENTS)]


def ring(rng):
    return [(k, (k + step) % AGENTS) for k in range(AGENTS) for step in (-1, 1)]


def complete(rng):
    return [(j, i) for j in range(AGENTS) for i in range(AGENTS) if i != j]


def matching(rng):
    pairs = rng.permutation(AGENTS).reshape(-1, 2).tolist()
    return [edge for j, i in pairs for edge in ((j, i), (i, j))]


def write_run(folder: Path, topology, algorithm: str, seed: int) -> None:
    """A run's folder of full size, without running anything."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, len(algorithm), len(topology(np.random.default_rng(0)))])
    hears = algorithm != "ippo"
    graphs = [topology(rng) for _ in range(ROUNDS if topology is matching else 1)]
    returns = -100 + 50 * np.arange(ROUNDS)[:, None] / ROUNDS + rng.normal(size=(ROUNDS, AGENTS))
    edges = len(graphs[0])
    size = edges * 9_137 * hears
    lines = [
        {
            "round": r + 1, "env_steps": 1600 * (r + 1), "team_return": float(returns[r].sum()), "bytes": size,
            "agent_returns": returns[r].tolist(), "figures": {"delay": 1.0},
        }
        for r in range(ROUNDS)
    ]  # fmt: skip
    points = [
        {
            "round": r,
            "env_steps": 1600 * r,
            "bytes": size * r,
            "figures": {"return": (-900 + r + rng.normal(size=5)).tolist()},
        }
        for r in range(0, ROUNDS + 1, ROUNDS // 10)
    ]
    phases = dict.fromkeys(("world", "exchange", "embedding", "learning", "bookkeeping"), 0.01)
    figure = {"return": {"mean": -700.0 - 10 * seed, "low": -720.0, "high": -680.0, "episodes": 5}}
    ledger = ["round,source,target,purpose,messages,bytes"]
    for r in range(0, ROUNDS * hears):
        for j, i in graphs[r % len(graphs)]:
            ledger.append(f"{r + 1},agent_{j},agent_{i},policy,1,8000")
            ledger.append(f"{r + 1},agent_{j},agent_{i},actions,1,1137")
    files = {
        "config.yaml": f"env: spread\nrounds: {ROUNDS}\nevaluate_episodes: 5\nseed: {seed}\nalgorithm: {algorithm}\n"
        f"topology: {topology.__name__}\n" + "".join(f"option_{k}: {k}\n" for k in range(100)),
        "metrics.jsonl": "\n".join(map(json.dumps, lines)) + "\n",
        "timings.jsonl": "\n".join(json.dumps({"round": r + 1, "seconds": 0.06, **phases}) for r in range(ROUNDS))
        + "\n",
        "evaluations.jsonl": "\n".join(map(json.dumps, points)) + "\n",
        "evaluation.json": json.dumps({"team, greedy": figure, "team, sampled": figure, "random": figure}),
        "ledger.csv": "\n".join(ledger) + "\n",
        "graphs.jsonl": "".join(json.dumps({"round": r + 1, "edges": found}) + "\n" for r, found in enumerate(graphs)),
        "topology.graphml": '<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="directed">'
        + "".join(f'<node id="{name}"/>' for name in NAMES)
        + "</graph></graphml>",
    }
    for name, text in files.items():
        (folder / name).write_text(text)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """The page of 3 topologies × 3 methods × 3 seeds, of 16 agents and 200 rounds each."""
    place = tmp_path_factory.mktemp("study")
    entries = []
    for topology in (ring, complete, matching):
        for algorithm in ("ippo", "perla_ippo", "mappo"):
            for seed in range(3):
                label = f"{topology.__name__}-{algorithm}-{seed}"
                write_run(place / label, topology, algorithm, seed)
                entry = {
                    "label": label,
                    "folder": label,
                    "seed": seed,
                    "task": "spread",
                    "state": "done",
                    "reason": None,
                }
                entries.append(entry | {"settings": {"topology": topology.__name__, "algorithm": algorithm}})
    (place / "index.json").write_text(json.dumps({"name": "who hears whom", "metric": "return", "runs": entries}))
    assert main([str(place), "-o", str(place / "page.html")]) == 0
    return place


def test_a_study_of_27_runs_adds_half_a_megabyte_to_the_library(study):
    added = (study / "page.html").stat().st_size - len(plotly_source().encode())
    assert 50_000 < added < 500_000


def run_of(folder: Path, seed: int, value: float, state: str = "done", **finals) -> Run:
    end = Curve.of([(1, 1, 0, value), (2, 2, 0, value)])
    told = {
        name: {"return": {"mean": mean, "low": mean - 1, "high": mean + 1, "episodes": 7}}
        for name, mean in finals.items()
    }
    settings = {"algorithm": folder.name}
    return Run(
        folder,
        folder.name,
        "spread",
        settings,
        seed,
        state,
        options=settings,
        evaluation=end,
        training=end,
        finals=told,
    )


def ranked(tmp_path, higher: bool = True):
    values = {"slow": (1.0, 3.0), "best": (8.0, 10.0), "poor": (-5.0, -4.0)}
    runs = [
        run_of(tmp_path / name, seed, value, **{"team, greedy": value, "oracle": 50.0 + seed})
        for name, pair in values.items()
        for seed, value in enumerate(pair)
    ]
    return content.build("x", [*runs, run_of(tmp_path / "failed", 0, 0.0, "failed")], higher=higher).overviews


def test_settings_are_ranked_with_their_intervals_beside_references(tmp_path):
    (one,) = ranked(tmp_path)
    assert [row.name for row in one.rows] == ["oracle", "best", "slow", "poor", "failed"]
    assert [row.value for row in one.rows] == [50.5, 9.0, 2.0, -4.5, None]
    best, oracle = one.rows[1], one.rows[0]
    assert (best.low, best.high) == pytest.approx((9 - 12.706, 9 + 12.706), abs=1e-3) and best.detail == "2 runs"
    # Six runs say the same of the oracle for each of two seeds: two values, not six.
    assert oracle.colour is None and oracle.high - oracle.low == pytest.approx(12.706, abs=1e-3)
    assert one.scale[1] < 50 and one.rows[-1].detail == "failed"
    assert [row.name for row in ranked(tmp_path, higher=False)[0].rows] == ["poor", "slow", "best", "oracle", "failed"]


def test_of_a_single_run_what_was_learned_stands_beside_the_references(tmp_path):
    run = run_of(tmp_path / "only", 3, 5.0, **{"team, greedy": 6.0, "team, sampled": 4.0, "random": -30.0})
    report = content.build("x", [run])
    (one,) = report.overviews
    assert [(row.name, row.value, row.low, row.detail) for row in one.rows] == [
        ("trained team, greedy", 6.0, 5.0, "7 episodes"),
        ("trained team, sampled", 4.0, 3.0, "7 episodes"),
        ("random", -30.0, -31.0, "7 episodes"),
    ]
    assert one.scale[0] < -31 and one.curve == "learning-evaluation"
    (without,) = content.build("x", [replace(run, finals={})]).overviews
    assert [(row.value, row.low) for row in without.rows] == [(5.0, None)]


def test_over_several_tasks_the_comparison_ranks_and_each_task_has_its_own(study):
    runs = [open_run(study / f"ring-{name}-{seed}") for name in ("ippo", "mappo") for seed in (0, 1)]
    report = content.build("x", [*runs, *(replace(run, task="other") for run in runs)])
    assert [one.name for one in report.overviews] == ["all tasks", "spread", "other"]
    aggregates = next(table for table in report.tables() if table.key == "aggregates-all-tasks")
    assert {row.name: row.value for row in report.overviews[0].rows} == {row[0]: row[1] for row in aggregates.body}
    keys = {figure.key for figure in report.figures()}
    assert all({one.curve, one.graph} <= keys for one in report.overviews)


def screen(browser, width: int, height: int) -> None:
    browser.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
    )


@pytest.fixture(scope="module")
def desk(browser, study):
    """The page of the study on a screen of 1280 by 900."""
    screen(browser, 1280, 900)
    browser.open(study / "page.html")
    return browser


SHOWN = "[...document.querySelectorAll('#figure-runs .plot')][0].data.map((trace) => trace.meta)"


def test_the_first_screen_answers(desk):
    browser = desk
    rows = browser.run("[...document.querySelectorAll('.ranking tbody tr')].map((row) => row.textContent)")
    assert len(rows) == 10 and sum("random" in row for row in rows) == 1 and sum("3 runs" in row for row in rows) == 9
    boxes = browser.run(
        "['.ranking', '.curve .main-svg', '.graph .main-svg', '[role=tablist]'].map((one) => document.querySelector(one).getBoundingClientRect().bottom)"
    )
    assert max(boxes[:3]) <= 900 + 60 and min(boxes) > 100, boxes
    # A setting that is pressed stands out in the curve, and its graph is shown.
    opacity = "document.querySelector('.curve .plot').data.map((trace) => trace.opacity ?? 1)"
    assert set(browser.run(opacity)) == {1}
    name = browser.run(
        "[...document.querySelectorAll('.ranking button')].find((one) => one.textContent === 'ring · mappo').dataset.graph"
    )
    browser.click(f'.ranking button[data-graph="{name}"]')
    assert browser.run(opacity).count(1) == 2 and browser.run("document.querySelector('.graph').dataset.key") == name
    assert "ring · mappo" in browser.run("document.querySelector('.graph h3').textContent")
    assert "32 directed edges" in browser.run("document.querySelector('.graph .sentence').textContent")
    browser.click(f'.ranking button[data-graph="{name}"]')
    assert set(browser.run(opacity)) == {1}
    assert browser.complaints == []


def test_runs_of_one_method_are_compared_in_two_clicks(desk):
    browser = desk
    tabs = browser.run("[...document.querySelectorAll('[role=tab]')].map((one) => one.textContent)")
    browser.click(f"#tab-{tabs.index('Runs')}")
    assert len(browser.run(SHOWN)) == 27
    browser.click("#figure-runs .chips [data-value=perla_ippo]")
    assert sorted(browser.run(SHOWN)) == sorted(
        f"{topology} · perla_ippo, seed {seed}" for topology in ("ring", "complete", "matching") for seed in range(3)
    )
    rows = "[...document.querySelectorAll('#table-runs tbody tr')].filter((row) => row.offsetParent).length"
    assert browser.run(rows) == 9
    browser.click("#figure-runs .chips [data-value=ring]")
    assert len(browser.run(SHOWN)) == 3 == browser.run(rows)
    browser.click("#figure-runs .chips [data-value=ring]")
    browser.click("#figure-runs .chips [data-value=perla_ippo]")
    assert len(browser.run(SHOWN)) == 27 == browser.run(rows)
    assert browser.complaints == []


def walk_through_the_tabs(browser):
    """With the arrow keys, from the first to the first again; yields the number of the tab that is open."""
    browser.run("document.querySelector('[role=tab]').click(), document.querySelector('[role=tab]').focus()")
    for k in range(browser.run("document.querySelectorAll('[role=tab]').length")):
        assert browser.run("document.activeElement.id") == f"tab-{k}"
        seen = f"document.getElementById('panel-{k}').offsetParent !== null"
        drawn = "[...document.querySelectorAll('.plot')].filter((one) => one.offsetParent).every((one) => one.querySelector('.main-svg'))"
        assert browser.run(f"[{seen}, {drawn}, document.documentElement.scrollWidth <= innerWidth]") == [True] * 3, k
        yield k
        for kind in ("keyDown", "keyUp"):
            browser.call(
                "Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39
            )
    assert browser.run("document.activeElement.id") == "tab-0" and browser.complaints == []


def test_everything_fits_a_desk(desk):
    wide = "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth).length"
    assert [desk.run(wide) for _ in walk_through_the_tabs(desk)] == [0] * 8


def test_the_page_fits_a_telephone(browser, study):
    screen(browser, 390, 844)
    browser.open(study / "page.html")
    assert len(list(walk_through_the_tabs(browser))) == 8
    first = (
        "[...document.querySelectorAll('.ranking tbody tr')].filter((row) => row.getBoundingClientRect().bottom < 844)"
    )
    browser.run("scrollTo(0, 0)")
    assert browser.run(f"{first}.length") >= 8


def test_a_reference_far_away_leaves_the_axis_to_the_settings():
    rows = [overview.Row(name, value, value - 1, value + 1, "", 0) for name, value in (("a", 1.0), ("b", 3.0))]
    far = overview.Row("far", 1000.0, None, None, "", None)
    one = overview._overview("t", "", "", "return", rows, [*rows, far], True, "", "")
    assert one.scale[0] <= 0 and 4 <= one.scale[1] < 10 and one.rows[0] is far
