"""The first screen as HTML: a ranking whose marks are drawn without a script, places for a curve and a graph, and the notes."""

from __future__ import annotations

from html import escape
from typing import Sequence

import numpy as np

from .drawing import COLOURS, DASHES
from .groups import number_text
from .overview import Overview, Row

FIRST, SHORT, LONG = 12, 5, 400
"""Rows of a ranking; those behind them are in a fold. Rows of a short one. Letters of a sentence that is in a fold, too."""
STROKES = dict(zip(DASHES, ("none", "7 4", "2 3", "8 3 2 3")))


def first_screen(overviews: Sequence[Overview], notes: Sequence[str]) -> str:
    """The overviews, of which one is shown at a time, and what one must know before one trusts a figure."""
    choice = ""
    if len(overviews) > 1:
        options = "".join(f'<option value="{k}">{escape(one.name)}</option>' for k, one in enumerate(overviews))
        choice = f'<label class="choice">task <select id="task">{options}</select></label>'
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    told = f'<ul class="notes" aria-label="Before you trust a figure">{listed}</ul>' if notes else ""
    shown = "".join(_overview(k, one, told if k == 0 else "") for k, one in enumerate(overviews))
    return f'<div id="first">{choice}{shown}</div>'


def _overview(number: int, one: Overview, told: str) -> str:
    chosen = sum(row.colour is not None for row in one.rows) > 1 and any(row.graph for row in one.rows)
    rows = [_row(row, one, chosen) for row in one.rows]
    table = _ranking(one, rows[:FIRST])
    if len(rows) > FIRST:
        table += f"<details><summary>{len(rows) - FIRST} more</summary>{_ranking(one, rows[FIRST:])}</details>"
    told_how = f'<p class="sentence">{escape(one.sentence)}</p>'
    if len(one.sentence) > LONG:
        told_how = f"<details><summary>How they were scored</summary>{told_how}</details>"
    hint = '<p class="sentence screen">Press a setting to see its curve and its graph.</p>' if chosen else ""
    card = f'<div class="card"><h2>{escape(one.title)}</h2>{table}{hint}{told_how}</div>'
    curve, graph = _view("curve", one.curve), _view("graph", one.graph)
    # Two columns of about one height: the graph stands below a short ranking, beside a long one.
    columns = (card + graph, curve + told) if len(rows) <= SHORT else (card + told, curve + graph)
    text = "".join(f'<div class="column">{column}</div>' for column in columns)
    return f'<div class="overview" data-number="{number}"{" hidden" * (number > 0)}>{text}</div>'


def _view(kind: str, key: str) -> str:
    """A place for a figure of the report, drawn small; its title is that of the figure."""
    if not key:
        return ""
    return (
        f'<figure class="{kind}" data-key="{escape(key)}" data-view="first"><h3></h3><p class="sentence"></p>'
        f'<div class="plot"></div></figure>'
    )


def _ranking(one: Overview, rows: Sequence[str]) -> str:
    ticks = "".join(
        f'<span style="left:{_at(tick, one):.1f}%">{number_text(tick)}</span>' for tick in _ticks(one.scale)
    )
    return (
        f'<table class="ranking" aria-label="{escape(one.title)}"><thead><tr><th scope="col">{"setting" if one.rows[0].graph else ""}</th>'
        f'<th scope="col" class="axis"><div>{ticks}</div></th><th scope="col" class="number">{escape(one.label)}</th></tr></thead>'
        f"<tbody>\n{''.join(rows)}</tbody></table>"
    )


def _row(row: Row, one: Overview, chosen: bool) -> str:
    name = escape(row.name)
    if chosen and row.colour is not None:
        graph = f' data-graph="{escape(row.graph)}"'
        name = f'<button type="button" aria-pressed="false" data-colour="{row.colour}"{graph}>{name}</button>'
    if row.value is None:
        value = f'<td class="number">–<small>{escape(row.detail)}</small></td>'
    else:
        ends = "" if row.low is None else f"[{number_text(row.low)}, {number_text(row.high)}] "
        value = f'<td class="number"><b>{number_text(row.value)}</b><small>{ends}{escape(row.detail)}</small></td>'
    kind = ' class="reference"' if row.colour is None else ""
    return f'<tr{kind}><th scope="row">{name}</th><td class="mark">{_mark(row, one)}</td>{value}</tr>\n'


def _mark(row: Row, one: Overview) -> str:
    """A dot with its whiskers, in shares of the cell's width; an arrow at the edge beyond which they lie."""
    colour = "#8a949c" if row.colour is None else COLOURS[row.colour % len(COLOURS)]
    stroke = STROKES[DASHES[(row.colour or 0) // len(COLOURS) % len(DASHES)]]
    lines = "".join(
        f'<line x1="{_at(tick, one):.2f}%" x2="{_at(tick, one):.2f}%" y1="0" y2="100%" stroke="#e3e8eb"/>'
        for tick in _ticks(one.scale)
    )
    text = ""
    if row.value is not None:
        ends = [row.value] if row.low is None else [row.low, row.high]
        left, right = (min(100.0, max(0.0, _at(end, one))) for end in (ends[0], ends[-1]))
        text += (
            f'<line x1="{left:.2f}%" x2="{right:.2f}%" y1="50%" y2="50%" stroke="{colour}" stroke-width="2.5" '
            f'stroke-dasharray="{stroke}"/>'
        )
        at = _at(row.value, one)
        if 0 <= at <= 100:
            text += f'<circle cx="{at:.2f}%" cy="50%" r="5.5" fill="{colour}"/>'
        for beyond, side, anchor, arrow in (
            (_at(ends[0], one) < 0, "0", "start", "◀"),
            (_at(ends[-1], one) > 100, "100%", "end", "▶"),
        ):
            if beyond:
                text += f'<text x="{side}" y="16" text-anchor="{anchor}" fill="{colour}" font-size="13">{arrow}</text>'
    return f'<svg aria-hidden="true" width="100%" height="22">{lines}{text}</svg>'


def _at(value: float, one: Overview) -> float:
    """Where a value stands on the axis, in percent."""
    return 100 * (value - one.scale[0]) / (one.scale[1] - one.scale[0])


def _ticks(scale: tuple[float, float]) -> list[float]:
    """Two to four round numbers within the axis."""
    span = scale[1] - scale[0]
    power = 10.0 ** np.floor(np.log10(span / 2))
    step = next(step for step in (power * 5, power * 2, power) if span / step >= 2)
    first = np.ceil(scale[0] / step) * step
    return [float(round(tick, 12)) + 0.0 for tick in np.arange(first, scale[1], step)][:5]
