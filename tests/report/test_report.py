"""The report: its numbers against the runs' files, what is said of runs that failed, the files for papers, and the page in a
headless Chromium: no errors, no network, slider, sorting, copying, printing."""

from __future__ import annotations

import base64
import csv
import html
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import started
from conftest import job

from perla_net.ground.errors import InputError
from perla_net.records.display import interval
from perla_net.records.run_folder import TALKING, open_run, open_study, rows_of
from perla_net.report import content, drawing, figures, groups, packing, page, tables
from perla_net.report.command import main
from perla_net.settings.config import Config
from perla_net.simulation.running import train

SMALL = dict(env="games:climbing:graph=ring", copies=2, horizon=25, rounds=6, display="none")


def make(folder: Path, **options) -> Path:
    """A run of four agents in this process."""
    settings = SMALL | {"evaluate_episodes": 2, "evaluate_points": 3} | options
    config = Config(**settings, out=str(folder))
    config.agents.number = 4
    config.ppo.epochs = 1
    train(config)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """Three topologies, one of which changes, with two seeds each."""
    place = tmp_path_factory.mktemp("runs")
    return [
        make(place / f"{topology}-{seed}", topology=topology, seed=seed)
        for topology in ("ring", "ring+star", "matching")
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def study(runs, tmp_path_factory) -> Path:
    """A study of these runs and of two that came to nothing; one label is an attempt to write into the page."""
    place = tmp_path_factory.mktemp("study")
    entries = []
    for run in runs:
        topology, _, seed = run.name.partition("-")
        shutil.copytree(run, place / "runs" / run.name, ignore=shutil.ignore_patterns("checkpoints", "points"))
        settings = {"topology": topology, "algorithm": "perla_ippo"}
        entry = {"label": run.name, "folder": f"runs/{run.name}", "settings": settings, "seed": int(seed)}
        entries.append(entry | {"task": SMALL["env"], "state": "done", "seconds": 1.0, "reason": None})
    cut = place / "runs" / "ring-2"
    shutil.copytree(place / "runs" / "ring-0", cut)
    lines = (cut / "metrics.jsonl").read_text().splitlines(keepends=True)
    (cut / "metrics.jsonl").write_text("".join(lines[:2]) + lines[2][:40])  # the third line is only half there
    base = {"task": SMALL["env"], "seconds": None}
    settings = {"topology": "ring", "algorithm": "perla_ippo"}
    entries.append(
        base
        | {
            "label": "ring-2",
            "folder": "runs/ring-2",
            "settings": settings,
            "seed": 2,
            "state": "failed",
            "reason": "time limit",
        }
    )
    settings = {"topology": "<img src=x onerror=alert(1)>", "algorithm": "perla_ippo"}
    entries.append(
        base
        | {"label": "bad", "folder": "runs/bad", "settings": settings, "seed": 0, "state": "waiting", "reason": None}
    )
    index = {
        "name": "Rings & </script> stars",
        "metric": "return",
        "higher_is_better": True,
        "axes": ["topology", "algorithm"],
    }
    (place / "index.json").write_text(json.dumps(index | {"normalise": {}, "runs": entries}))
    return place


def written(folder: Path, name: str) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def files(study, tmp_path_factory) -> Path:
    """Page and figures of the study."""
    place = tmp_path_factory.mktemp("report")
    assert main([str(study), "-o", str(place / "page.html"), "--figures", str(place / "figures")]) == 0
    return place


def test_runs_that_differ_only_in_their_seed_are_a_group(runs):
    found = groups.group([open_run(run) for run in runs])
    assert [one.name for one in found] == ["ring", "ring+star", "matching"]
    assert [one.seeds for one in found] == [[0, 1]] * 3
    twice = groups.group([open_run(run) for run in [runs[0], runs[0]]])
    assert [len(one.runs) for one in twice] == [1, 1] and twice[0].name != twice[1].name


def test_options_without_effect_do_not_split_groups_but_overrides_do(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs[1], other, ignore=shutil.ignore_patterns("checkpoints", "points"))
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("checkpoint_every: 20", "checkpoint_every: 3"))
    assert "checkpoint_every: 3" in (other / "config.yaml").read_text()
    assert len(groups.group([open_run(runs[0]), open_run(other)])) == 1
    (other / "config.yaml").write_text(config.replace("overrides: {}", "overrides: {'0-1': {samples: 0}}"))
    names = [one.name for one in groups.group([open_run(runs[0]), open_run(other)])]
    assert "overrides 0-1" in names and len(names) == 2


def test_what_differs_between_tasks_only_is_not_in_a_name(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs[2], other, ignore=shutil.ignore_patterns("checkpoints", "points"))
    text = (other / "config.yaml").read_text().replace(SMALL["env"], "games:penalty:graph=ring")
    (other / "config.yaml").write_text(text.replace("horizon: 25", "horizon: 50"))
    found = groups.group([open_run(run) for run in (runs[0], runs[2], other)])
    assert [(one.task, one.name) for one in found][2] == ("games:penalty:graph=ring", "ring+star")


def test_averages_are_those_of_the_rest_of_the_program():
    values = np.random.default_rng(0).normal(size=(5, 3))
    found = groups.mean(values)
    for k in range(3):
        told = interval(values[:, k].tolist())
        assert (found.value[k], found.low[k], found.high[k]) == pytest.approx((told["mean"], told["low"], told["high"]))
    assert groups.mean(values[:1]).low is None and groups.interquartile(values[:1]).low is None
    one = groups.interquartile(np.array([[0.0], [1.0], [2.0], [30.0]]))
    assert one.value == pytest.approx([1.5]) and one.low[0] <= 1.5 <= one.high[0]


def test_learning_curve_is_the_mean_of_the_evaluation_points(runs, files):
    rows = [row for row in written(files / "figures", "learning-evaluation") if row["series"].startswith("ring (")]
    both = [rows_of(run / "evaluations.jsonl") for run in runs[:2]]
    assert len(rows) == len(both[0]) == 4
    for row, *points in zip(rows, *both):
        told = interval([math.fsum(point["figures"]["return"]) / 2 for point in points])
        assert float(row["team return"]) == pytest.approx(told["mean"])
        assert float(row["low"]) == pytest.approx(told["low"]) and float(row["high"]) == pytest.approx(told["high"])
        assert float(row["environment steps (all copies)"]) == points[0]["env_steps"]
    training = [
        row for row in written(files / "figures", "learning-training") if row["series"].startswith("matching (")
    ]
    metrics = [rows_of(run / "metrics.jsonl") for run in runs[4:]]
    told = [
        math.fsum(row["team_return"] for row in pair) / 2
        for pair in zip(*metrics)
        if pair[0]["team_return"] is not None
    ]
    assert [float(row["team return"]) for row in training] == pytest.approx(told)


def test_bytes_are_those_of_the_ledger(runs, files):
    rows = written(files / "figures", "cost")
    with (runs[4] / "ledger.csv").open(newline="") as file:
        total = sum(int(row["bytes"]) for row in csv.DictReader(file))
    single = [row for row in rows if row["series"] == "matching, runs"]
    assert float(single[0]["agent traffic of the whole run"]) == total > 0
    run = open_run(runs[4])
    graph = figures.graph(run, "graph", "", 60_000)
    whole = sum(sum(sizes) for _, _, sizes in graph.stops[0].edges) * len(run.training)
    parts = sum(
        sum(sum(sizes) for _, _, sizes in stop.edges) * (stop.last - stop.first + 1) for stop in graph.stops[1:]
    )
    assert whole == pytest.approx(total) and parts == pytest.approx(total)


def test_each_stop_of_the_slider_has_that_rounds_graph_and_returns(runs):
    run = open_run(runs[2])
    graph = figures.graph(run, "graph", "", 60_000)
    rows, metrics = rows_of(runs[2] / "graphs.jsonl"), rows_of(runs[2] / "metrics.jsonl")
    assert len(graph.stops) == 7 == len(rows) + 1  # ring and star in turn: a stop a round
    for stop, row in zip(graph.stops[1:], rows):
        assert (stop.first, stop.last) == (row["round"], row["round"])
        assert {graph.edges[pair] for pair, there, _ in stop.edges if there} == {tuple(edge) for edge in row["edges"]}
        if metrics[stop.first - 1]["agent_returns"]:
            assert stop.returns == metrics[stop.first - 1]["agent_returns"]
    few = figures.graph(run, "graph", "", 200)
    assert len(few.stops) < 7 and "The slider has" in few.sentence


def test_of_very_many_edges_the_heaviest_are_drawn(runs):
    run = open_run(runs[4])
    names = tuple(map(str, range(15)))
    (run.folder.parent / "large").mkdir()
    rows = [f"1,{j},{i},policy,1,{j * 15 + i}" for j in range(15) for i in range(15) if i != j]
    (run.folder.parent / "large" / "ledger.csv").write_text("\n".join(["head", *rows, ""]))
    shutil.copy(run.folder / "graphs.jsonl", run.folder.parent / "large")
    large = run.__class__(**{**vars(run), "folder": run.folder.parent / "large", "agents": names})
    graph = figures.graph(large, "graph", "", 10)
    assert "Of 210 edges the 100 with most bytes are drawn" in graph.sentence
    sizes = {graph.edges[pair]: sum(sizes) for pair, _, sizes in graph.stops[0].edges}
    assert len(sizes) == 100 and min(j * 15 + i for j, i in sizes) >= 7 * 15


def test_agents_stand_where_the_environment_has_them(runs):
    run = open_run(runs[0])
    moved = run.__class__(
        **{**vars(run), "options": run.options | {"env": "traffic:grid"}, "agents": ("a", "b", "c", "d")}
    )
    places, sentence = figures.place(moved, [])
    assert "environment" in sentence
    assert sorted(map(tuple, places.tolist())) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    places, sentence = figures.place(run, [(0, 1)])
    assert "environment" not in sentence and places.shape == (4, 2)
    assert places.min() >= -1e-9 and places.max() <= 1 + 1e-9


def test_files_for_papers(files):
    names = {file.name for file in (files / "figures").iterdir()}
    keys = {name[:-4] for name in names if name.endswith(".png")}
    assert {
        "learning-evaluation",
        "learning-training",
        "traffic",
        "cost",
        "timings",
        "graph-matching",
        "agents-ring",
    } <= keys
    assert {"iqm", "improvement", "profiles"} <= keys and {"table-settings.csv", "table-runs.csv"} <= names
    for key in keys:
        assert (files / "figures" / f"{key}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert (files / "figures" / f"{key}.pdf").read_bytes()[:5] == b"%PDF-"
        assert len(written(files / "figures", key)) > 0


def test_every_run_is_told_of_and_only_complete_ones_are_averaged(study):
    index, found = open_study(study)
    report = content.build("x", found)
    told = " ".join(report.notes)
    assert "Failed: ring, seed 2" in told and "time limit" in told and "Waiting: <img" in told
    aggregates = next(table for table in report.tables() if table.key == "aggregates")
    assert "fewer than two seeds done: <img" in aggregates.sentence and len(aggregates.body) == 3
    table = next(table for table in report.tables() if table.key == "runs")
    state = table.head.index("state")
    assert sorted(row[state] for row in table.body) == ["done"] * 6 + ["failed", "waiting"]
    assert table.body[0][table.head.index("rounds")] == 6 and 2 in [
        row[table.head.index("rounds")] for row in table.body
    ]
    curves = next(figure for figure in report.figures() if figure.key == "learning-training")
    dashed = [series for series in curves.series if series.style == "dashed"]
    assert len(dashed) == 1 and "failed, time limit" in dashed[0].name
    two = [found[k].training.values for k in (0, 1)]
    known = np.isfinite(two[0])
    assert curves.series[0].y.tolist() == pytest.approx(np.mean(two, 0)[known].tolist()) and known.sum() > 2
    assert [series.name for series in curves.series if series.style == "solid"] == [
        f"{name} (n = 2)" for name in ("ring", "ring+star", "matching")
    ]


def test_comparison_is_that_of_the_statistics(runs):
    from perla_net.studies import statistics

    every = [open_run(run) for run in runs]
    report = content.build("x", every)
    pairs = next(table for table in report.tables() if table.key == "pairs")
    last = {run.folder.name: run.evaluation.values[-1] for run in every}
    x, y = (np.array([[last[f"{name}-0"]], [last[f"{name}-1"]]]) for name in ("ring", "matching"))
    row = next(row for row in pairs.body if row[:2] == ["ring", "matching"])
    assert row[2] == statistics.probability_of_improvement(x, y)
    assert row[5] == 2 and row[6] == pytest.approx(float((x - y).mean()))
    assert len(pairs.body) == 3
    curves = next(figure for figure in report.figures() if figure.key == "efficiency").series
    both = np.array([run.evaluation.values for run in every[:2]])
    assert curves[0].name == "ring" and curves[0].y.tolist() == pytest.approx(both.mean(0).tolist())
    third = every[0].__class__(**{**vars(every[0]), "seed": 2})  # one setting has a seed more: used, but not in pairs
    more = next(table for table in content.build("x", [*every, third]).tables() if table.key == "pairs")
    row = next(row for row in more.body if row[:2] == ["ring", "matching"])
    assert row[2] == statistics.probability_of_improvement(np.array([*x, [last["ring-0"]]]), y)
    assert row[5] == 2 and row[6] == pytest.approx(float((x - y).mean()))


def test_scores_of_several_tasks_are_on_one_scale(runs):
    run = open_run(runs[0])
    curve = run.evaluation.__class__

    def entry(task: str, algorithm: str, seed: int, value: float):
        line = curve(*np.array([[0, 3, 6], [0, 150, 300], [0, 1, 2], [0, value / 2, value]], float))
        settings = {"task": task, "algorithm": algorithm}
        return run.__class__(**{**vars(run), "task": task, "settings": settings, "seed": seed, "evaluation": line})

    values = {("one", "a"): (10, 20), ("one", "b"): (20, 30), ("two", "a"): (-1, -4), ("two", "b"): (-2, -3)}
    every = [entry(*key, seed, value) for key, pair in values.items() for seed, value in enumerate(pair)]
    finals = {id(one): one.evaluation.values[-1] for one in every}
    found = tables.scores(groups.group(every), finals, {"one": (0, 40)}, True)
    assert np.allclose(found.methods["a"], [[0.25, 0.75], [0.5, 0]])
    assert np.allclose(found.methods["b"], [[0.5, 0.5], [0.75, 0.25]])
    assert found.curves["a"].shape == (2, 2, 3) and np.allclose(found.curves["a"][:, :, -1], found.methods["a"])
    assert found.curves["b"][1, 0].tolist() == pytest.approx([0, 0.375, 0.75])
    assert "one 0 → 0, 40 → 1; two -4 → 0, 0 → 1" in found.sentence
    less = tables.scores(groups.group(every), finals, {"one": (0, 40)}, False)
    assert np.allclose(less.methods["a"], 1 - found.methods["a"])
    alone = tables.scores(groups.group(every[:4]), finals, {}, False)
    assert np.allclose(alone.methods["b"], [[-20], [-30]]) and not alone.scaled


def test_pairs_of_many_settings_differ_in_one(runs):
    run = open_run(runs[0])
    every = [
        run.__class__(**{**vars(run), "settings": {"topology": a, "algorithm": b}, "seed": seed})
        for a in "abc"
        for b in "xyz"
        for seed in (0, 1)
    ]
    pairs = next(table for table in content.build("x", every).tables() if table.key == "pairs")
    assert len(pairs.body) == 18  # 3 × 3 settings: three pairs in each row and in each column
    assert all(sum(p != q for p, q in zip(row[0].split(" · "), row[1].split(" · "))) == 1 for row in pairs.body)


def test_what_talking_costs_has_a_table_where_agents_talk(runs, tmp_path):
    assert "talking" not in [table.key for table in content.build("x", [open_run(runs[0])]).tables()]
    folders = [
        make(tmp_path / name, algorithm=name, topology="ring", rounds=2, cost={"preset": "wifi"})
        for name in ("commnet", "ic3net")
    ]
    table = next(t for t in content.build("x", list(map(open_run, folders))).tables() if t.key == "talking")
    assert len(table.body) == 2
    for folder, row in zip(folders, table.body):
        of_rounds = rows_of(folder / "metrics.jsonl")
        told = [np.mean([one[name] for one in of_rounds]) if name in of_rounds[0] else None for name in TALKING]
        assert row[1:] == [value if value is None else pytest.approx(value) for value in told], row
        # 64 numbers of four bytes and two for the mark, over eight edges; of who may be silent less.
        assert row[1] <= 8 * (64 * 4 + 2) and row[2] == pytest.approx(row[1] / 8)
    assert table.body[0][1] == 8 * (64 * 4 + 2) and table.body[0][3] is None and 0 < table.body[1][3] < 1


def test_one_run_and_two_hundred(runs, tmp_path):
    single = page.page(content.build("one", [open_run(runs[0])]))
    assert "no interval" in single
    run = open_run(runs[2])
    rounds = 3000
    steps = np.arange(1, rounds + 1)
    long = run.training.__class__(steps, steps * 50, steps * 1000, np.sin(steps / 100))
    many = [
        run.__class__(
            **{
                **vars(run),
                "training": long,
                "agent_returns": np.ones((rounds, 4)) * steps[:, None],
                "settings": run.settings | {"samples": number // 4},
                "seed": number % 4,
                "label": str(number),
            }
        )
        for number in range(200)
    ]
    report = content.build("many", many)
    text = page.page(report)
    assert len(text) < 6.5e6
    points = packing.points_of(report.figures())
    assert 60 <= points < 250 and any(f"{points} evenly spaced points" in note for note in report.notes)
    curves = [figure for figure in report.figures() if figure.key == "learning-training"]
    data = json.loads(packing.packed(curves))  # one figure alone has room for more points
    assert {len(read(data["arrays"][one["y"]])) for one in data["figures"]["learning-training"]["series"]} == {250}
    assert any("first 40 of 50" in note for note in report.notes)
    assert (
        max(len(one.x) for figure in report.figures() if isinstance(figure, figures.Chart) for one in figure.series)
        == 500
    )


def test_page_asks_nobody_and_escapes_what_comes_from_files(files):
    text = (files / "page.html").read_text().replace(drawing.plotly_source().replace("</script", "<\\/script"), "")
    assert "<img" not in text and html.escape("<img src=x onerror=alert(1)>") in text
    assert html.escape("Rings & </script> stars") in text
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text) and "http" not in re.sub(r"<svg.*?</svg>", "", text)
    assert text.count("<script") == 3 == text.count("</script>")


@pytest.mark.parametrize("kind", ["lines", "points", "bars", "intervals"])
def test_texts_within_plots_are_escaped(kind):
    """plotly.js reads some HTML in what it shows."""
    y = ["<b>y</b>"] if kind in ("bars", "intervals") else [1.0]
    series = [figures.Series("<b>x</b>", [1.0], y, [0.5], [2.0])]
    text = json.dumps(packing.chart_data(figures.Chart("k", "t", "s", kind, "<b>a</b>", "<b>b</b>", series), {}))
    assert "&lt;b&gt;x" in text and not re.search("<b>[xyab]", text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], ["nowhere", "no such folder"]),
        (["."], ["holds neither a run (config.yaml) nor a study (index.json)"]),
        (["PARENT"], ["6 runs in it", "/*"]),
        (["RUN", "--metric", "delay"], ["--metric delay", "payoff"]),
        (["RUN", "-o", "nowhere/page.html"], ["--out", "nowhere/page.html"]),
        (["STUDY", "RUN"], ["one study"]),
        (["RUN", "--figures", "RUN/config.yaml"], ["--figures", "config.yaml"]),
        (["RUN", "--average", "best"], ["--average"]),
        (["BROKEN"], ["metrics.jsonl, line 2", "JSON"]),
        (["EMPTY"], ["nothing to report"]),
        (["OLD", "--score", "absolute"], ["--score absolute", "--evaluate-points"]),
    ],
)
def test_bad_input_is_one_sentence(runs, study, tmp_path, arguments, words):
    places = {"RUN": str(runs[0]), "STUDY": str(study), "PARENT": str(runs[0].parent)}
    for name in ("BROKEN", "EMPTY", "OLD"):
        places[name] = str(tmp_path / name)
        shutil.copytree(runs[0], tmp_path / name, ignore=shutil.ignore_patterns("checkpoints", "points"))
    lines = (runs[0] / "metrics.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "BROKEN" / "metrics.jsonl").write_text(lines[0] + "{half\n" + lines[2])
    (tmp_path / "EMPTY" / "metrics.jsonl").unlink()
    (tmp_path / "OLD" / "absolute.json").unlink()
    given = [re.sub(r"^[A-Z]+", lambda name: places[name[0]], text) for text in arguments]
    with pytest.raises(InputError) as caught:
        main(given if "-o" in given else [*given, "-o", str(tmp_path / "page.html")])
    for word in words:
        assert word in str(caught.value)


def test_missing_package_names_its_extra(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install -c constraints.txt "\.\[report\]"'):
        main([str(runs[0]), "-o", str(tmp_path / "page.html")])
    with pytest.raises(InputError, match=r"--figures .*matplotlib.*\[report\]"):
        drawing.write_files([], [], tmp_path / "figures")


def test_command_line(runs, tmp_path):
    done = job(0, "perla_net.report", str(runs[0]), "-o", str(tmp_path / "page.html"), timeout=100, process=True)
    assert "report on 1 run:" in done.stdout and (tmp_path / "page.html").stat().st_size > 3e6
    done = job(0, "perla_net.report", str(tmp_path / "nowhere"), timeout=100, check=False, process=True)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1


browser = pytest.fixture(scope="module")(started)


def test_page_in_a_browser(browser, files):
    browser.open(files / "page.html")
    assert browser.complaints == []
    assert {url.partition(":")[0] for url in browser.requests} <= {"file", "data", "blob"}
    assert browser.run("document.title") == "Rings & </script> stars"
    assert browser.run("document.querySelectorAll('.plot .main-svg').length > 0") is True

    # The slider of a graph that changes: star after ring, in the picture itself.
    tab(browser, "Who heard whom")
    browser.run(
        """(() => { const choice = document.querySelector('.choices select');
        choice.value = 'graph-ring-star'; choice.dispatchEvent(new Event('change')); })()"""
    )
    move = """(async (stop) => { const figure = document.getElementById('figure-graph-ring-star');
        const slider = figure.querySelector('input'); slider.value = stop; slider.dispatchEvent(new Event('input'));
        await new Promise((done) => setTimeout(done, 200));
        const plot = figure.querySelector('.plot');
        return [figure.querySelector('output').textContent, plot.data.find((trace) => trace.name === 'edges').text,
          plot.data.find((trace) => trace.name === 'agents').marker.color, plot.querySelectorAll('path.point').length]; })"""
    whole, ring, star = (browser.run(f"{move}({stop})") for stop in (0, 1, 2))
    assert (
        whole[0].startswith("whole run")
        and ring[0].startswith("round 1: 8 directed")
        and star[0].startswith("round 2: 6 directed")
    )
    assert len(ring[1]) == 8 and len(star[1]) == 6 and all("player_0" in edge for edge in star[1])
    assert "policy: " in star[1][0] and star[1][0].count("kB") + star[1][0].count(" B") >= 3
    # Points: the hover point and both ends of each edge, and the four agents.
    assert ring[3] - star[3] == 2 * 3 and whole[2] != ring[2]

    # A click sorts by number, a second one the other way round, what is not known stays last; the copy is what is shown.
    tab(browser, "Runs")
    head = browser.run("[...document.querySelectorAll('#table-runs th')].map((cell) => cell.textContent)")
    at = head.index("agent traffic, B")
    cells = f"[...document.querySelectorAll('#table-runs tbody tr')].map((row) => row.cells[{at}])"
    known = [900, 10000, -5, 2.5, 100, 20, 3]  # the eighth run has not begun
    browser.run(f"{cells}.forEach((cell, k) => {{ if (k < 7) cell.dataset.value = {known}[k]; }})")
    column = f"{cells}.map((cell) => cell.dataset.value === undefined ? null : Number(cell.dataset.value))"
    assert browser.run(column) == [*known, None]
    header = f"#table-runs th:nth-child({at + 1}) button"
    browser.click(header)
    assert browser.run(column) == [*sorted(known), None]
    browser.click(header)
    assert browser.run(column) == [*sorted(known, reverse=True), None]
    assert browser.run(f"document.querySelectorAll('#table-runs th')[{at}].getAttribute('aria-sort')") == "descending"
    browser.click("#table-runs .copy")
    browser.until("document.querySelector('#table-runs .copy').textContent === 'copied'")
    table = [line.split("\t") for line in browser.pasted().split("\n")]
    assert table[0] == head and [row[at] for row in table[1:]] == ["10000", "900", "100", "20", "3", "2.5", "-5", ""]

    # Paper: plots as wide as a page, and everything on some page, what no tab has shown yet included.
    assert browser.run("document.querySelectorAll('#figure-timings .main-svg').length") == 0
    pdf = base64.b64decode(browser.call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])
    assert pdf[:5] == b"%PDF-" and len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 4
    assert browser.run("document.querySelectorAll('#figure-timings .main-svg').length") > 0
    assert browser.run("document.querySelectorAll('[role=tabpanel]:not([hidden])').length") == 1  # as it was before
    assert browser.complaints == []


def tab(browser, title: str) -> None:
    """Open a tab of the page."""
    names = browser.run("[...document.querySelectorAll('[role=tab]')].map((one) => one.textContent)")
    browser.click(f"#tab-{names.index(title)}")


@pytest.mark.parametrize("clipboard", ["as it is", "closed"])
def test_a_person_copies_a_table(browser, files, clipboard):
    """By a click of the mouse; also where scripts may not use the clipboard, as in some browsers on pages opened as files."""
    browser.open(files / "page.html")
    if clipboard == "closed":
        browser.run("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    shown = browser.run(
        "[...document.querySelectorAll('#table-settings tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    browser.click("#table-settings .copy")
    assert (
        browser.until("(document.querySelector('#table-settings .copy').textContent.match(/cop.*ied/) || [])[0]")
        == "copied"
    )
    lines = [line.split("\t") for line in browser.pasted().split("\n")]
    assert lines[0] == shown[0] and [line[0] for line in lines] == [row[0] for row in shown]
    assert {len(line) for line in lines} == {len(shown[0])}


def test_bytes_of_different_sizes_stand_on_a_logarithmic_axis_with_a_place_for_none():
    def chart(largest, kind="lines"):
        silent = figures.Series("silent", [0.0, 0.0], [1.0, 2.0])
        few = figures.Series("few", [0.0, 1e4], [1.0, 2.0], colour=1)
        return figures.Chart("k", "t", "s", kind, "bytes", "return", [silent, few, replace(few, x=[0, largest])], "B")

    for kind in ("lines", "points"):
        arrays = {}
        axis = packing.chart_data(chart(1e7, kind), arrays)["x"]
        assert [text for _, text in axis["ticks"]] == ["0", "10 kB", "100 kB", "1 MB", "10 MB"]
        assert (
            0 < axis["floor"] == axis["ticks"][0][0] < 1e4 and axis["range"][0] < axis["floor"] < 1e7 < axis["range"][1]
        )
        assert list(arrays)[0] == "[0.0,0.0]"  # what one sees in the hover; the script puts it at the floor
        assert "floor" not in packing.chart_data(chart(1e5, kind), {})["x"]


def test_intervals_that_reach_far_beyond_the_curves_are_cut_off():
    def heights(half):
        y = np.array([1.0, 2.0, 3.0])
        line = figures.Series("a", [1, 2, 3], y, y - half, y + half)
        return packing.chart_data(figures.Chart("k", "t", "s", "lines", "steps", "return", [line]), {})["y"]["range"]

    assert heights(0.5) is None
    assert heights(50.0) == pytest.approx([-1.06, 5.06])


def read(kept) -> list[float | None]:
    """Numbers of an array of the page."""
    if isinstance(kept, list):
        return kept
    if "f" in kept:
        return np.frombuffer(base64.b64decode(kept["f"]), "<f4").tolist()
    codes = np.frombuffer(base64.b64decode(kept["u"]), "<u2")
    return [None if code == packing.UNKNOWN else kept["low"] + int(code) * kept["step"] for code in codes]


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-1145.3, -1043.7), (1e9, 1e9 + 1), (5.0, 5.0), (-3e-7, 2e-7)])
def test_numbers_on_the_page_are_those_of_the_runs_as_far_as_a_screen_shows(low, high):
    values = np.linspace(low, high, 300) ** 1
    values[7] = np.nan
    for exact in (False, True):
        arrays = {}
        assert packing.array(values, arrays, exact) == 0 == packing.array(values, arrays, exact)  # kept once
        found = read(json.loads(list(arrays)[0]))
        assert len(found) == 300 and (found[7] is None or np.isnan(found[7]))
        off = np.abs(np.array(found, float) - values)[np.isfinite(values)].max()
        assert off <= (2e-7 * max(abs(low), abs(high)) if exact else (high - low) / 65_000 + 1e-12 * abs(high))


def test_graphs_open_on_a_setting_that_talks(runs):
    silent = [open_run(run) for run in runs[:1]]
    silent = [replace(silent[0], settings={"topology": "a"}, label="silent")]
    graphs = [
        figures.Graph(
            "a",
            "",
            "",
            ("x", "y"),
            np.zeros((2, 2)),
            ((0, 1),),
            ("policy",),
            [figures.Stop(1, 2, [0.0, 0.0], [(0, True, [sent])])],
        )
        for sent in (0.0, 8.0)
    ]
    made = iter(graphs)
    groups_of = groups.group([*silent, open_run(runs[2])])
    section = content._choices("Who heard whom", {"task": groups_of}, "graph", lambda one, key: next(made))
    assert section.items[0].first == 1
    shown = page._item(section.items[0])
    assert shown.count(" hidden") == 1 and shown.count(" selected") == 1


def made_up(run, value: float, **changes):
    """A complete run like another, whose training ended at a value."""
    curve = run.training.__class__(np.arange(1, 3), np.arange(1, 3), np.arange(1, 3), np.full(2, value))
    none = run.training.__class__(*(np.zeros(0) for _ in range(4)))
    return replace(run, training=curve, evaluation=none, state="done", **changes)


def test_settings_of_one_name_are_not_taken_for_one_another(runs):
    """Overrides of the same agents, and names that are cut off, look alike; the tasks have the settings in another order."""
    run = open_run(runs[0])
    values = {name: {"samples": k} for k, name in enumerate("ABC")}
    every = [
        made_up(run, scale * k, task=task, settings={"agents.overrides": {"0-3": values[name]}}, seed=seed, label=name)
        for task, order, scale in (("one", "ABC", 1), ("two", "BAC", 10))
        for k, name in ((ord(name) - 65, name) for name in order)
        for seed in (0, 1)
    ]
    found = groups.group(every)
    assert len({one.name for one in found}) == 3
    for name in {one.name for one in found}:
        own = [one for one in found if one.name == name]
        assert len({one.runs[0].label for one in own}) == 1, "one setting on both tasks"
    finals = {id(run): run.training.values[-1] for run in every}
    scores = tables.scores(found, finals, {"one": (0, 2), "two": (0, 20)}, True)
    assert sorted(np.ravel(list(scores.methods.values())).tolist()) == [0.0] * 4 + [0.5] * 4 + [1.0] * 4


def test_three_runs_of_one_seed_are_three_groups(runs):
    same = [replace(open_run(runs[0]), label="run") for _ in range(3)]
    found = groups.group(same)
    assert [len(one.runs) for one in found] == [1, 1, 1] and len({one.name for one in found}) == 3


def test_one_task_is_scaled_by_its_own_range_only(runs):
    run = open_run(runs[0])
    every = [
        made_up(run, value, task="B", settings={"samples": number}, seed=seed)
        for number, seed, value in ((1, 0, -100.0), (1, 1, -99.0), (2, 0, -98.0), (2, 1, -97.0))
    ]
    finals = {id(run): run.training.values[-1] for run in every}
    own = tables.scores(groups.group(every), finals, {"A": (0, 1)}, True)
    assert not own.scaled and [table.tolist() for table in own.methods.values()] == [[[-100], [-99]], [[-98], [-97]]]
    assert tables.scores(groups.group(every), finals, {"B": (-100, 0)}, True).scaled
    several, _ = tables.compare(own, "B"), tables.compare(own, "C")
    assert [table.key for table in several[0]] == ["aggregates-b", "pairs-b"]


def test_spread_is_that_of_the_last_tenth(runs):
    run = open_run(runs[0])
    returns = np.full((100, 2), np.nan)
    returns[4::5] = np.stack([np.arange(20), np.zeros(20)], 1)  # an episode ends in every fifth round
    curve = run.training.__class__(*(np.arange(100) for _ in range(4)))
    assert tables._spread(replace(run, training=curve, agent_returns=returns)) == pytest.approx((18 + 19) / 4)


def test_keys_are_distinct_whatever_they_were():
    for keys in (["a", "a", "a-1"], ["a-1", "a", "a"], ["a", "b"]):
        assert len(set(figures.unique(keys))) == len(keys)
    assert figures.unique(["a", "b", "a"]) == ["a", "b", "a-1"]


def test_names_are_names_also_where_they_look_like_something_else(tmp_path):
    names = ["1", "4", '16 "$x_{$"']
    bars = [figures.Series(name, [k], [name], [k - 1], [k + 1]) for k, name in enumerate(names)]
    chart = figures.Chart("k", "t", "s", "intervals", "score", "", bars)
    assert [one["y"] for one in packing.chart_data(chart, {})["series"]] == [["1"], ["4"], ['16 "$x_{$"']]
    drawing.write_files([chart], [], tmp_path)
    assert (tmp_path / "k.png").stat().st_size > 1000


def test_a_metric_of_ones_own_has_not_the_studys_direction(study, tmp_path):
    index = json.loads((study / "index.json").read_text())
    place = tmp_path / "study"
    shutil.copytree(study, place)
    task = SMALL["env"]
    changed = index | {"metric": "payoff", "higher_is_better": False, "normalise": {task: [0.0, 1.0]}}
    (place / "index.json").write_text(json.dumps(changed))
    assert main([str(place), "-o", str(tmp_path / "own.html")]) == 0
    assert main([str(place), "-o", str(tmp_path / "return.html"), "--metric", "return"]) == 0
    assert "Lowest final payoff" in (tmp_path / "own.html").read_text()
    assert "Highest final team return" in (tmp_path / "return.html").read_text()
