"""Figures for people: the same numbers drawn by Plotly for the page and by matplotlib for papers, and as CSV files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from html import escape
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


def _faded(number: int, opacity: float) -> str:
    text = _colour(number)
    return f"rgba({int(text[1:3], 16)},{int(text[3:5], 16)},{int(text[5:7], 16)},{opacity})"


def plotly_chart(chart: Chart) -> dict[str, Any]:
    """``data`` and ``layout`` of a chart for plotly.js, as JSON data; its texts escaped, since plotly.js reads HTML in them."""
    import plotly.graph_objects as go

    chart = _escaped(chart)
    floor = _log_floor(chart)
    makers = {"lines": _plotly_lines, "points": _plotly_points, "bars": _plotly_bars, "intervals": _plotly_intervals}
    figure = go.Figure(makers[chart.kind](go, chart))
    across = chart.kind in ("bars", "intervals")
    names = list(dict.fromkeys(name for one in chart.series for name in one.y)) if across else []
    height = 90 + 26 * len(names) if across else 430
    entries = [] if chart.kind == "intervals" else [len(one.name) for one in chart.series if one.style != "faint"]
    columns = max(1, min(3, 84 // max(entries, default=1)))  # that also fit on paper
    legend_rows = -(-len(entries) // columns)
    figure.update_layout(
        template="none",
        height=max(220, height) + 22 * legend_rows,
        margin={"l": 12, "r": 16, "t": 12, "b": 12 if across else 62 + 20 * legend_rows},
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#1d2730"},
        hoverlabel={"namelength": -1},
        hovermode="closest",
        barmode="stack",
        showlegend=chart.kind != "intervals",
        legend={
            "orientation": "h",
            "traceorder": "normal",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "x": 0,
        },
        xaxis=_axis(chart.x_label, chart.x_unit, None if floor else _range(chart)),
        yaxis=_axis(chart.y_label, chart.y_unit, _value_range(chart)),
    )
    if floor:
        decades = _decades(chart)
        texts = ["0", *(_bytes(decade) for decade in decades)]
        span = [np.log10(floor / 1.3), np.log10(_largest(chart) * 1.3)]
        figure.update_xaxes(type="log", tickvals=[floor, *decades], ticktext=texts, ticksuffix="", range=span)
    if across:
        figure.update_yaxes(type="category", autorange="reversed", automargin=True, showgrid=chart.kind == "intervals")
        figure.update_layout(legend={"yref": "paper", "y": 1.02, "yanchor": "bottom"}, margin={"t": 30})
    if chart.reference is not None:
        figure.add_vline(chart.reference, line={"color": "#8a949c", "width": 1, "dash": "dot"})
    return json.loads(figure.to_json())


def _escaped(chart: Chart) -> Chart:
    def safe(text: str) -> str:
        return escape(text, quote=False)  # plotly.js knows few entities, and none for quotation marks

    series = [
        replace(one, name=safe(one.name), y=[safe(y) if isinstance(y, str) else y for y in one.y])
        for one in chart.series
    ]
    return replace(chart, x_label=safe(chart.x_label), y_label=safe(chart.y_label), series=series)


def _without_mathematics(chart: Chart) -> Chart:
    """For matplotlib, to which a dollar sign begins a formula."""

    def plain(text: str) -> str:
        return text.replace("$", r"\$")

    series = [
        replace(one, name=plain(one.name), y=[plain(y) if isinstance(y, str) else y for y in one.y])
        for one in chart.series
    ]
    return replace(chart, x_label=plain(chart.x_label), y_label=plain(chart.y_label), series=series)


def _range(chart: Chart) -> list[float] | None:
    """The range of the measured axis from 0 on, for steps and bytes; None: as the values lie."""
    largest = _largest(chart)
    if chart.kind == "points":
        return [-0.03 * (largest or 1.0), 1.05 * (largest or 1.0)]
    least = (
        min((float(np.min(one.x)) for one in chart.series if len(one.x)), default=0.0) if chart.kind == "lines" else -1
    )
    return [0.0, 1.01 * (largest or 1.0)] if 0 <= least < largest / 2 or largest == 0 else None


def _largest(chart: Chart) -> float:
    return max((float(np.max(one.x)) for one in chart.series if len(one.x)), default=0.0)


def _log_floor(chart: Chart) -> float | None:
    """Where no bytes at all are drawn on a logarithmic axis; None where the axis is linear: settings' bytes are of one size."""
    if chart.x_unit != "B" or chart.kind not in ("lines", "points"):
        return None
    sent = [x[x > 0] for x in (np.asarray(one.x, float) for one in chart.series) if (x > 0).any()]
    totals = [x.max() for x in sent]
    if not totals or max(totals) < 20 * min(totals):
        return None
    return min(float(x.min()) for x in sent) / 3


def _decades(chart: Chart) -> list[float]:
    """Powers of ten between the least and the most bytes."""
    floor, largest = _log_floor(chart), _largest(chart)
    return [10.0**k for k in range(int(np.ceil(np.log10(2 * floor))), int(np.floor(np.log10(largest))) + 1)]


def _placed(chart: Chart, one: Series) -> np.ndarray:
    """The x of a series as they are drawn: 0 bytes at the left end of a logarithmic axis."""
    x, floor = np.asarray(one.x), _log_floor(chart)
    return x if floor is None else np.maximum(x, floor)


def _value_range(chart: Chart) -> list[float] | None:
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


def _axis(label: str, unit: str, span: list[float] | None) -> dict[str, Any]:
    axis = {"title": {"text": label, "standoff": 8}, "automargin": True, "gridcolor": "#e6eaed", "zeroline": False}
    axis |= {"linecolor": "#8a949c", "ticks": "outside", "tickcolor": "#8a949c"}
    axis |= {"tickformat": "~s", "ticksuffix": unit} if unit == "B" else {}
    axis |= {"ticksuffix": " s"} if unit == "s" else {}
    axis |= {"range": span} if span else {}
    return axis


def _hover(chart: Chart) -> str:
    x = "%{customdata:.4~s}" + chart.x_unit if chart.kind in ("lines", "points") else "%{x:.4~g} " + chart.x_unit
    return f"<b>%{{fullData.name}}</b><br>{chart.x_label}: {x}<br>{chart.y_label}: %{{y:.5~g}}<extra></extra>"


def _plotly_lines(go: Any, chart: Chart) -> list[Any]:
    traces = []
    shade = 0.14 if len(chart.series) <= len(COLOURS) else 0.05
    for number, one in enumerate(chart.series):
        group = f"{number}"
        if one.low is not None and one.high is not None:
            x = np.concatenate([_placed(chart, one), _placed(chart, one)[::-1]])
            y = np.concatenate([one.high, np.asarray(one.low)[::-1]])
            traces.append(
                go.Scatter(
                    x=x,
                    y=y,
                    fill="toself",
                    fillcolor=_faded(one.colour, shade),
                    line={"width": 0},
                    mode="lines",
                    hoverinfo="skip",
                    showlegend=False,
                    legendgroup=group,
                )
            )
        dash = "dash" if one.style == "dashed" else DASHES[one.colour // len(COLOURS) % len(DASHES)]
        line = {"color": _colour(one.colour), "width": 1.2 if one.style == "dashed" else 2, "dash": dash}
        mode = "lines+markers" if len(one.x) < 30 else "lines"
        traces.append(
            go.Scatter(
                x=_placed(chart, one),
                customdata=np.asarray(one.x),
                y=np.asarray(one.y),
                name=one.name,
                mode=mode,
                line=line,
                marker={"size": 4},
                legendgroup=group,
                hovertemplate=_hover(chart),
            )
        )
    return traces


def _plotly_points(go: Any, chart: Chart) -> list[Any]:
    traces = []
    for one in chart.series:
        faint = one.style == "faint"
        bars = None
        if one.low is not None and one.high is not None:
            bars = {"array": np.subtract(one.high, one.y), "arrayminus": np.subtract(one.y, one.low), "thickness": 1.5}
        traces.append(
            go.Scatter(
                x=_placed(chart, one),
                customdata=np.asarray(one.x),
                y=np.asarray(one.y),
                name=one.name,
                mode="markers",
                error_y=bars,
                showlegend=not faint,
                hovertemplate=_hover(chart),
                marker={
                    "size": 6 if faint else 11,
                    "color": _faded(one.colour, 0.35) if faint else _colour(one.colour),
                    "symbol": one.colour // len(COLOURS) % 4,
                },
            )
        )
    return traces


def _plotly_bars(go: Any, chart: Chart) -> list[Any]:
    hover = "<b>%{y}</b><br>%{fullData.name}: %{x:.3~g} " + chart.x_unit + "<extra></extra>"
    return [
        go.Bar(
            x=np.asarray(one.x),
            y=list(one.y),
            name=one.name,
            orientation="h",
            marker={"color": _colour(one.colour)},
            hovertemplate=hover,
        )
        for one in chart.series
    ]


def _plotly_intervals(go: Any, chart: Chart) -> list[Any]:
    hover = f"<b>%{{y}}</b><br>{chart.x_label}: %{{x:.4~g}}<extra></extra>"
    return [
        go.Scatter(
            x=np.asarray(one.x),
            y=list(one.y),
            mode="markers",
            name=one.name,
            hovertemplate=hover,
            marker={"size": 10, "color": _colour(one.colour)},
            error_x={"array": np.subtract(one.high, one.x), "arrayminus": np.subtract(one.x, one.low), "thickness": 2},
        )
        for one in chart.series
    ]


def graph_data(graph: Graph) -> dict[str, Any]:
    """A graph for the page's own script, which draws each stop of the slider with plotly.js."""
    return {
        "agents": list(graph.agents),
        "positions": np.round(graph.positions, 4).tolist(),
        "edges": [list(edge) for edge in graph.edges],
        "purposes": list(graph.purposes),
        "unit": graph.unit,
        "stops": [
            {
                "first": stop.first,
                "last": stop.last,
                "returns": [None if np.isnan(value) else float(f"{value:.6g}") for value in stop.returns],
                "edges": [
                    [pair, int(there), *(float(f"{size:.6g}") for size in sizes)] for pair, there, sizes in stop.edges
                ],
            }
            for stop in graph.stops
        ],
    }


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
    across = chart.kind in ("bars", "intervals")
    names = list(dict.fromkeys(name for one in chart.series for name in one.y)) if across else []
    figure, axes = pyplot.subplots(figsize=(7, max(2.2, 1 + 0.3 * len(names)) if across else 4.3), layout="constrained")
    left = np.zeros(len(names))
    for one in chart.series:
        _static_series(axes, chart, one, names, left)
    axes.set_xlabel(chart.x_label)
    floor, span = _log_floor(chart), _range(chart)
    if floor:
        axes.set_xscale("log")
        axes.set_xlim(floor / 1.3, _largest(chart) * 1.3)
        decades = _decades(chart)
        axes.set_xticks([floor, *decades], ["0", *(_bytes(decade) for decade in decades)])
        axes.minorticks_off()
    elif span:
        axes.set_xlim(span)
    heights = _value_range(chart)
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
