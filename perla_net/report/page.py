"""The page: one HTML file that holds everything it needs, plotly.js included, and asks no network for anything."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import Any

from ..ground.errors import InputError
from .content import Choice, Report, Section
from .drawing import plotly_source
from .figures import Chart, Graph
from .groups import number_text
from .packing import packed
from .screen import first_screen
from .tables import Table

HERE = Path(__file__).parent


def write_page(report: Report, file: Path) -> None:
    """Write the page whole or not at all. Raises InputError where it cannot be written."""
    draft = file.with_name(file.name + ".tmp")
    try:
        draft.write_text(page(report), encoding="utf-8", errors="replace")  # a folder may be called anything
        os.replace(draft, file)
    except OSError as error:
        raise InputError(f"--out {file}: cannot be written ({error.strerror})") from None


def page(report: Report) -> str:
    """The page's text. All text that comes from files is escaped: as HTML here, as JSON without ``<`` in the data."""
    lines = [f"<p>{escape(line)}</p>" for line in report.lines]
    if len(lines) > 5:  # of many tasks
        lines[2:] = ["<details><summary>The best on each task</summary>", *lines[2:], "</details>"]
    tabs: dict[str, list[Section]] = {}
    for section in report.sections:
        tabs.setdefault(section.title, []).append(section)
    buttons = "".join(
        f'<button type="button" role="tab" id="tab-{k}" aria-controls="panel-{k}">{escape(title)}</button>'
        for k, title in enumerate(tabs)
    )
    panels = "".join(_panel(k, title, sections) for k, (title, sections) in enumerate(tabs.items()))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(report.headline)}</title>
<style>
{(HERE / "page.css").read_text(encoding="utf-8")}
</style>
<noscript><style>[hidden] {{ display: block !important; }}</style></noscript>
</head>
<body>
<header>
<h1>{escape(report.headline)}</h1>
{"".join(lines)}
</header>
<main>
{first_screen(report.overviews, report.notes)}
<div role="tablist" aria-label="Parts of the report">{buttons}</div>
{panels}
</main>
<footer>Written by perla_net.report. Curves: drag to zoom, double-click to reset, click a name in the legend to hide a curve.
Tables: click a head to sort; copies are unrounded. What is drawn is rounded to what a screen can show.</footer>
<script type="application/json" id="figures">{packed(report.figures())}</script>
<script>{plotly_source().replace("</script", "<" + chr(92) + "/script")}</script>
<script>
{(HERE / "page.js").read_text(encoding="utf-8")}
</script>
</body>
</html>
"""


def _panel(number: int, title: str, sections: list[Section]) -> str:
    """One tab: the items of its section, or a fold for each section where there are several."""
    parts = [f'<div class="items">{"".join(_item(item) for item in section.items)}</div>' for section in sections]
    if len(sections) > 1:
        parts = [
            f"<details{' open' * (k == 0)}><summary>{escape(section.part or 'all tasks')}</summary>{text}</details>"
            for k, (section, text) in enumerate(zip(sections, parts))
        ]
    return (
        f'<section id="panel-{number}" role="tabpanel" aria-labelledby="tab-{number}"{" hidden" * (number > 0)}>'
        f"<h2>{escape(title)}</h2>{''.join(parts)}</section>\n"
    )


def _item(item: Chart | Graph | Table | Choice) -> str:
    if isinstance(item, Table):
        return _table(item)
    if isinstance(item, Choice):
        if len(item.options) == 1:
            return _figure(item.options[0][1], "")
        entries, shown = "", ""
        for k, (name, figure) in enumerate(item.options):
            chosen = " selected" if k == item.first else ""
            entries += f'<option value="{escape(figure.key)}"{chosen}>{escape(name)}</option>'
            shown += _figure(figure, "" if k == item.first else " hidden")
        head = f'<label class="choice">{escape(item.label)} <select>{entries}</select></label>'
        return f'<div class="choices">{head}{shown}</div>'
    return _figure(item, "")


def _figure(figure: Chart | Graph, hidden: str) -> str:
    controls = ""
    if isinstance(figure, Graph):
        controls = (
            f'<div class="slider"><label>rounds <input type="range" min="0" max="{len(figure.stops) - 1}" value="0" '
            f'step="1"></label><output></output></div>'
        )
    elif any(one.facets for one in figure.series):
        controls = _chips(figure)
    return (
        f'<figure id="figure-{escape(figure.key)}" data-key="{escape(figure.key)}"{hidden}><h3>{escape(figure.title)}</h3>'
        f'<p class="sentence">{escape(figure.sentence)}</p>{controls}<div class="plot"></div></figure>'
    )


def _chips(chart: Chart) -> str:
    """Buttons that choose among the curves of single runs: for each axis of the comparison its values."""
    text = ""
    for axis in dict.fromkeys(axis for one in chart.series for axis in one.facets):
        values = list(dict.fromkeys(one.facets.get(axis, "") for one in chart.series))
        buttons = "".join(
            f'<button type="button" aria-pressed="false" data-axis="{escape(axis)}" data-value="{escape(value)}">'
            f"{escape(value or 'none')}</button>"
            for value in values
        )
        text += (
            f'<div class="chips" role="group" aria-label="{escape(axis)}"><span>{escape(axis)}</span>{buttons}</div>'
        )
    return text


def _table(table: Table) -> str:
    numeric = [all(row[k] is None or _is_number(row[k]) for row in table.body) for k in range(len(table.head))]
    classes = [' class="number"' if flag else "" for flag in numeric]
    head = "".join(
        f'<th scope="col"{kind}><button type="button">{escape(name)}</button></th>'
        for name, kind in zip(table.head, classes)
    )
    marks = [f' data-group="{escape(name)}"' for name in table.groups] or [""] * len(table.body)
    body = "".join(
        f"<tr{mark}>" + "".join(_cell(cell, kind) for cell, kind in zip(row, classes)) + "</tr>\n"
        for row, mark in zip(table.body, marks)
    )
    return (
        f'<div class="table" id="table-{escape(table.key)}"><button type="button" class="copy">copy as TSV</button>'
        f'<h3>{escape(table.title)}</h3><p class="sentence">{escape(table.sentence)}</p>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div></div>'
    )


def _cell(cell: Any, kind: str) -> str:
    short = ' class="short"' if not kind and len(str(cell)) <= 24 else kind
    return f"<td{short}{_raw(cell)}>{_shown(cell)}</td>"


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)


def _raw(cell: Any) -> str:
    """The unrounded number, for sorting and copying."""
    return f' data-value="{cell!r}"' if _is_number(cell) else ""


def _shown(cell: Any) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return number_text(cell)
    return f"{cell:,}" if _is_number(cell) else escape(str(cell))
