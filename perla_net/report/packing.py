"""Figures as data for the page's script: every array once, rounded to what a screen can show, of long curves some points."""

from __future__ import annotations

import base64
import json
from html import escape
from typing import Any, Sequence

import numpy as np

from .drawing import COLOURS, DASHES, decades, log_floor, names_across, x_range, y_range
from .figures import Chart, Graph
from .groups import thinned

SCREEN, BUDGET = 250, 60_000
"""Points of a curve on the page at most, and of all curves together, as far as 60 points a curve allow that."""
UNKNOWN = 2**16 - 1
"""The code of NaN."""


def points_of(figures: Sequence[Chart | Graph]) -> int:
    """Points that a curve of a page has at most."""
    curves = sum(len(figure.series) for figure in figures if isinstance(figure, Chart) and figure.kind == "lines")
    return min(SCREEN, max(60, BUDGET // max(1, curves)))


def packed(figures: Sequence[Chart | Graph]) -> str:
    """The figures of a page as JSON without ``<``: colours, dashes, figures by key, and the arrays that these name by number."""
    arrays: dict[str, int] = {}
    points = points_of(figures)
    data = {
        figure.key: graph_data(figure) if isinstance(figure, Graph) else chart_data(figure, arrays, points)
        for figure in figures
    }
    text = json.dumps({"colours": COLOURS, "dashes": DASHES, "figures": data}, allow_nan=False, separators=(",", ":"))
    return (text[:-1] + f',"arrays":[{",".join(arrays)}]}}').replace("<", "\\u003c")


def array(values: Sequence[Any] | None, arrays: dict[str, int], exact: bool = False) -> int | None:
    """The number of an array among those of the page. ``exact``: to seven digits, else to a 65,000th of its own span."""
    if values is None:
        return None
    numbers = np.asarray(values, float)
    known = numbers[np.isfinite(numbers)]
    if len(numbers) < 8 or not len(known):
        kept: Any = [float(f"{number:.7g}") if np.isfinite(number) else None for number in numbers]
    elif exact:
        kept = {"f": base64.b64encode(numbers.astype("<f4").tobytes()).decode()}
    else:
        low, step = float(known.min()), float(np.ptp(known)) / (UNKNOWN - 1)
        codes = np.full(len(numbers), UNKNOWN)
        codes[np.isfinite(numbers)] = np.rint((known - low) / (step or 1.0))
        kept = {"u": base64.b64encode(codes.astype("<u2").tobytes()).decode(), "low": low, "step": step}
    return arrays.setdefault(json.dumps(kept, separators=(",", ":")), len(arrays))


def chart_data(chart: Chart, arrays: dict[str, int], points: int = SCREEN) -> dict[str, Any]:
    """A chart as data; its texts escaped, since plotly.js reads HTML in them."""
    floor = log_floor(chart)
    series = []
    for one in chart.series:
        at = thinned(len(one.x), points) if chart.kind == "lines" else slice(None)
        x, y, low, high = (None if part is None else np.asarray(part)[at] for part in (one.x, one.y, one.low, one.high))
        names = [_safe(name) for name in one.y] if names_across(chart) else None
        entry = {"name": _safe(one.name), "colour": one.colour, "style": one.style, "x": array(x, arrays, exact=True)}
        entry |= {"y": array(y, arrays) if names is None else names}
        entry |= {"low": array(low, arrays), "high": array(high, arrays)} if one.low is not None else {}
        series.append(entry | ({"group": one.group, "facets": one.facets} if one.facets else {}))
    x = {"label": _safe(chart.x_label), "unit": chart.x_unit, "range": x_range(chart)}
    x |= {"floor": floor, "ticks": decades(chart)} if floor else {}
    y = {"label": _safe(chart.y_label), "unit": chart.y_unit, "range": y_range(chart)}
    return {"kind": chart.kind, "x": x, "y": y, "reference": chart.reference, "series": series}


def _safe(text: str) -> str:
    return escape(text, quote=False)  # plotly.js knows few entities, and none for quotation marks


def graph_data(graph: Graph) -> dict[str, Any]:
    """A graph as data: of each stop the edges as numbers, two an edge: which pair, and which of ``loads`` it carries.

    loads: [whether it is in the graph, bytes per round and purpose …], each once: most edges carry what others do. A stop
    with the edges of the one before says so by null."""
    loads: dict[tuple[float, ...], int] = {}
    stops: list[dict[str, Any]] = []
    before = None
    for stop in graph.stops:
        edges = []
        for pair, there, sizes in stop.edges:
            load = (int(there), *(float(f"{size:.4g}") for size in sizes))
            edges += [pair, loads.setdefault(load, len(loads))]
        returns = [None if np.isnan(value) else float(f"{value:.5g}") for value in stop.returns]
        same = edges == before
        stops.append({"first": stop.first, "last": stop.last, "returns": returns, "edges": None if same else edges})
        before = edges
    return {
        "agents": list(graph.agents),
        "positions": np.round(graph.positions, 4).tolist(),
        "pairs": [list(edge) for edge in graph.edges],
        "purposes": list(graph.purposes),
        "unit": graph.unit,
        "loads": [list(load) for load in loads],
        "stops": stops,
    }
