"""Figures for papers: drawn by matplotlib, and as CSV files; and what their axes show, there and on the page."""

from __future__ import annotations

import csv
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from ..ground.errors import InputError
from ..ground.pictures import COLOURS, draw_graph
from .figures import Chart, Graph, Series

DASHES = ("solid", "dash", "dot", "dashdot")
LINES = ("-", "--", ":", "-.")
"""The same for matplotlib: the ninth curve has the first one's colour, dashed."""
MISSING = 'install it with: pip install -c constraints.txt ".[report]"'


def check_plotly() -> None:
    """InputError where plotly is not installed."""
    if find_spec("plotly") is None:
        raise InputError(f"the report needs plotly; {MISSING}")


def plotly_source() -> str:
    """The text of plotly.js."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _without_mathematics(chart: Chart) -> Chart:
    """For matplotlib, to which a dollar sign begins a formula."""

    def plain(text: str) -> str:
        return text.replace("$", r"\$")

    series = [
        replace(one, name=plain(one.name), y=[plain(y) if isinstance(y, str) else y for y in one.y])
        for one in chart.series
    ]
    return replace(chart, x_label=plain(chart.x_label), y_label=plain(chart.y_label), series=series)


def names_across(chart: Chart) -> list[str]:
    """What stands beside the bars or intervals of a chart, from the top; nothing for other kinds."""
    across = chart.kind in ("bars", "intervals")
    return list(dict.fromkeys(name for one in chart.series for name in one.y)) if across else []


def x_range(chart: Chart) -> list[float] | None:
    """The range of the measured axis from 0 on, for steps and bytes; None: as the values lie."""
    largest = _largest(chart)
    floor = log_floor(chart)
    if floor:
        return [floor / 1.3, largest * 1.3]
    if chart.kind == "points":
        return [-0.03 * (largest or 1.0), 1.05 * (largest or 1.0)]
    least = (
        min((float(np.min(one.x)) for one in chart.series if len(one.x)), default=0.0) if chart.kind == "lines" else -1
    )
    return [0.0, 1.01 * (largest or 1.0)] if 0 <= least < largest / 2 or largest == 0 else None


def _largest(chart: Chart) -> float:
    return max((float(np.max(one.x)) for one in chart.series if len(one.x)), default=0.0)


def log_floor(chart: Chart) -> float | None:
    """Where no bytes at all are drawn on a logarithmic axis; None where the axis is linear: settings' bytes are of one size."""
    if chart.x_unit != "B" or chart.kind not in ("lines", "points"):
        return None
    sent = [x[x > 0] for x in (np.asarray(one.x, float) for one in chart.series) if (x > 0).any()]
    totals = [x.max() for x in sent]
    if not totals or max(totals) < 20 * min(totals):
        return None
    return min(float(x.min()) for x in sent) / 3


def decades(chart: Chart) -> list[tuple[float, str]]:
    """What is written along a logarithmic axis of bytes: 0 at its left end, then powers of ten."""
    floor, largest = log_floor(chart), _largest(chart)
    powers = range(int(np.ceil(np.log10(2 * floor))), int(np.floor(np.log10(largest))) + 1)
    return [(floor, "0"), *((10.0**k, _bytes(10.0**k)) for k in powers)]


def _placed(chart: Chart, one: Series) -> np.ndarray:
    """The x of a series as they are drawn: 0 bytes at the left end of a logarithmic axis."""
    x, floor = np.asarray(one.x), log_floor(chart)
    return x if floor is None else np.maximum(x, floor)


def y_range(chart: Chart) -> list[float] | None:
    """The range of y, if intervals reach further out of the curves' range than this is wide: two seeds may give such."""
    if chart.kind not in ("lines", "points"):
        return None
    values = np.concatenate([np.ravel(one.y).astype(float) for one in chart.series])
    ends = [np.ravel(end).astype(float) for one in chart.series for end in (one.low, one.high) if end is not None]
    reached = np.concatenate([values, *ends])
    values, reached = values[np.isfinite(values)], reached[np.isfinite(reached)]
    if not len(values) or values.max() == values.min():
        return None
    width = float(values.max() - values.min())
    low, high = max(values.min() - width, reached.min()), min(values.max() + width, reached.max())
    if (low, high) == (reached.min(), reached.max()):
        return None
    return [float(low) - 0.03 * width, float(high) + 0.03 * width]


def write_files(figures: Sequence[Chart | Graph], tables: Sequence[Any], folder: Path) -> list[Path]:
    """PNG, PDF and CSV of every figure, and CSV of every table, into a folder. Needs matplotlib. Raises InputError."""
    if find_spec("matplotlib") is None:
        raise InputError(f"--figures {folder}: needs matplotlib; {MISSING}")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for figure in figures:
            drawn = _static_graph(pyplot, figure) if isinstance(figure, Graph) else _static_chart(pyplot, figure)
            for ending, options in ((".png", {"dpi": 160}), (".pdf", {})):
                written.append(folder / (figure.key + ending))
                drawn.savefig(written[-1], **options)
                drawn.set_layout_engine("none")  # it is laid out, also for the second file
            pyplot.close(drawn)
            written.append(_write_rows(folder / (figure.key + ".csv"), figure.rows()))
        for table in tables:
            written.append(_write_rows(folder / f"table-{table.key}.csv", [table.head, *table.body]))
    except OSError as error:
        raise InputError(f"--figures {folder}: cannot be written ({error})") from None
    return written


def _write_rows(file: Path, rows: Any) -> Path:
    with file.open("w", newline="", encoding="utf-8") as target:
        csv.writer(target, lineterminator="\n").writerows(rows)
    return file


def _static_chart(pyplot: Any, chart: Chart) -> Any:
    from matplotlib.ticker import EngFormatter

    chart = _without_mathematics(chart)
    across, names = chart.kind in ("bars", "intervals"), names_across(chart)
    figure, axes = pyplot.subplots(figsize=(7, max(2.2, 1 + 0.3 * len(names)) if across else 4.3), layout="constrained")
    left = np.zeros(len(names))
    for one in chart.series:
        _static_series(axes, chart, one, names, left)
    axes.set_xlabel(chart.x_label)
    floor, span = log_floor(chart), x_range(chart)
    if floor:
        axes.set_xscale("log")
        axes.set_xticks(*zip(*decades(chart)))
        axes.minorticks_off()
    if span:
        axes.set_xlim(span)
    heights = y_range(chart)
    if heights:
        axes.set_ylim(heights)
    axes.set_ylabel(chart.y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x" if across else "both", color="#e6eaed", linewidth=0.8)
    axes.set_axisbelow(True)
    if chart.x_unit == "B" and not floor:
        axes.xaxis.set_major_formatter(EngFormatter(unit="B"))
    if across:
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
    if chart.reference is not None:
        axes.axvline(chart.reference, color="#8a949c", linewidth=1, linestyle=":")
    handles, labels = axes.get_legend_handles_labels()
    if chart.kind != "intervals" and handles and len(labels) <= 30:
        figure.legend(
            handles, labels, loc="outside lower left", ncols=2 if len(labels) > 3 else 1, fontsize=8, frameon=False
        )
    return figure


def _static_series(axes: Any, chart: Chart, one: Series, names: Sequence[str], left: np.ndarray) -> None:
    colour = _colour(one.colour)
    if chart.kind == "lines":
        style = "--" if one.style == "dashed" else LINES[one.colour // len(COLOURS) % len(LINES)]
        if one.low is not None:
            shade = 0.14 if len(chart.series) <= len(COLOURS) else 0.05
            axes.fill_between(_placed(chart, one), one.low, one.high, color=colour, alpha=shade, linewidth=0)
        width = 1 if one.style == "dashed" else 1.6
        axes.plot(_placed(chart, one), one.y, color=colour, linestyle=style, linewidth=width, label=one.name)
    elif chart.kind == "points":
        if one.style == "faint":
            axes.plot(_placed(chart, one), one.y, "o", color=colour, alpha=0.35, markersize=4)
            return
        bars = None if one.low is None else [np.subtract(one.y, one.low), np.subtract(one.high, one.y)]
        marker = "osD^"[one.colour // len(COLOURS) % 4]
        axes.errorbar(
            _placed(chart, one), one.y, yerr=bars, fmt=marker, color=colour, markersize=7, capsize=3, label=one.name
        )
    elif chart.kind == "bars":
        axes.barh(range(len(names)), one.x, left=left, color=colour, label=one.name)
        left += np.asarray(one.x)
    else:
        at = [names.index(name) for name in one.y]
        bars = [np.subtract(one.x, one.low), np.subtract(one.high, one.x)]
        axes.errorbar(one.x, at, xerr=bars, fmt="o", color=colour, markersize=7, capsize=3)


def _static_graph(pyplot: Any, graph: Graph) -> Any:
    """The whole run: nodes by return, edges by their bytes per round."""
    import networkx as nx

    stop = graph.stops[0]
    figure, axes = pyplot.subplots(figsize=(7, 5.4), layout="constrained")
    drawn = nx.DiGraph()
    drawn.add_nodes_from(range(len(graph.agents)))
    sizes = {graph.edges[pair]: sum(each) for pair, _, each in stop.edges}
    drawn.add_edges_from(sizes)
    absent = [graph.edges[pair] for pair, there, _ in stop.edges if not there]
    carried = draw_graph(
        axes,
        drawn,
        graph.positions,
        names=graph.agents,
        sizes=sizes,
        values=stop.returns,
        value_label=graph.unit,
        absent=absent,
    )
    axes.set_title(f"rounds {stop.first} to {stop.last}; {carried}", fontsize=9)
    return figure


def _bytes(size: float) -> str:
    from ..ground.text import size_text

    return size_text(size)
