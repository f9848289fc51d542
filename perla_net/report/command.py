"""The command line of ``python -m perla_net.report``."""

from __future__ import annotations

from typing import Any, Sequence

from ..ground.errors import InputError
from ..ground.files import given as path_given
from ..ground.text import many
from ..records.run_folder import Run, open_run, open_study
from ..settings.command_line import parser
from .content import build
from .drawing import check_plotly, write_files
from .groups import AVERAGES
from .page import write_page


def main(arguments: Sequence[str]) -> int:
    """Read runs or a study, write the page, and figures where they are asked for."""
    reader = parser("perla_net.report", "One page on what runs learnt, sent and cost; works offline.")
    reader.add_argument("runs", metavar="RUN|STUDY", nargs="+", help="folders of runs, or the folder of one study")
    reader.add_argument("-o", "--out", metavar="FILE", default="report.html", help="the page (default report.html)")
    reader.add_argument("--figures", metavar="FOLDER", help="also write every figure there as PNG, PDF and CSV")
    reader.add_argument("--title", help="headline (default: the study's name, or what is compared)")
    reader.add_argument("--metric", help="return, or a figure of the environment (default: the study's, else return)")
    reader.add_argument("--less-is-better", action="store_true", help="of the metric, as of a delay")
    reader.add_argument(
        "--average", choices=tuple(AVERAGES), help="over seeds: mean, or iqm, the interquartile mean (default mean)"
    )
    reader.add_argument(
        "--score",
        choices=("final", "absolute"),
        default="final",
        help="compare settings by the evaluation at the end, or by the absolute metric (default final)",
    )
    given = reader.parse_args(list(arguments))
    check_plotly()
    out = path_given(given.out, "--out")
    if not out.absolute().parent.is_dir() or out.is_dir():
        raise InputError(f"--out {out}: is not a file in a folder that is there")
    index, runs, metric = _read(given.runs, given.metric)
    if not any(len(run.training) for run in runs):
        raise InputError(f"{given.runs[0]}: no run has finished its first round yet; there is nothing to report")
    if given.score == "absolute" and any(run.done and run.absolute is None for run in runs):
        lacking = next(run for run in runs if run.done and run.absolute is None)
        raise InputError(
            f"--score absolute: {lacking.folder} has no absolute.json; it is written with --evaluate-points"
        )
    # The study's direction and ranges are those of its own metric.
    studied = metric == (index.get("metric") or "return")
    report = build(
        given.title or _title(index, runs),
        runs,
        metric,
        (index.get("higher_is_better", True) if studied else True) and not given.less_is_better,
        (index.get("normalise") or {}) if studied else {},
        given.average or "mean",
        given.score,
    )
    write_page(report, out)
    begun = sum(len(run.training) > 0 for run in runs)
    number = many(len(runs), "run")
    print(
        f"report on {number if begun == len(runs) else f'{begun} of {number}'}: {out} ({out.stat().st_size / 1e6:.1f} MB)"
    )
    if given.figures:
        written = write_files(report.figures(), report.tables(), path_given(given.figures, "--figures"))
        print(f"{len(written)} files of figures and tables in {given.figures}")
    return 0


def _read(folders: Sequence[str], metric: str | None) -> tuple[dict[str, Any], list[Run], str]:
    """(index of the study or {}, its runs, the metric). Raises InputError."""
    places = [path_given(folder, "RUN") for folder in folders]
    for place in places:
        if not place.is_dir():
            raise InputError(f"{place}: there is no such folder")
    studies = [place for place in places if (place / "index.json").is_file()]
    if studies:
        if len(places) > 1:
            raise InputError(f"{studies[0]}: is a study; a report is on one study, or on the folders of runs")
        index, runs = open_study(places[0], metric)
        return index, runs, metric or index.get("metric") or "return"
    for place in places:
        if not (place / "config.yaml").is_file():
            inside = sum(1 for _ in place.glob("*/config.yaml"))
            there = f"; {many(inside, 'run')} in it: give {place}/*" if inside else ""
            raise InputError(f"{place}: holds neither a run (config.yaml) nor a study (index.json){there}")
    return {}, [open_run(place, metric or "return") for place in places], metric or "return"


def _title(index: dict[str, Any], runs: Sequence[Run]) -> str:
    if index.get("name"):
        return str(index["name"])
    return (
        runs[0].label if len(runs) == 1 else f"{len(runs)} runs on {', '.join(dict.fromkeys(run.task for run in runs))}"
    )
