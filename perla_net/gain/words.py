"""Tables and sentences."""

from __future__ import annotations

import math
from typing import Any, Sequence

import numpy as np

from ..ground.text import columns
from .findings import Findings, Row
from .prediction import ENOUGH, LITTLE, REACH, Influence

FEW = 12
"""Agents of whom everyone has a row; of more the first and last by predicted gain are shown, unless all are asked for."""
KNOWN = 0.5
"""Share of V_oth that should be laid to somebody, else a row says that it is not."""
TOP = 3
"""Others that a row names."""
LEGEND = f"""\
  V_own, V_oth, V_env: variance of an agent's return through its own action, the others', and what comes after; R: ceiling of the gain in
  samples, everybody heard and a perfect critic (control, trajectory), R_action: the same of the action form; [ ]: 95 % over states. p_c: numbers
  that the critic must know of those whom the agent hears. covered: share of the others' influence that it hears. gain: predicted with that
  graph and the samples; must: if it heard just those whom it must hear. Of others: share of V_oth (may exceed 100 % together where effects
  depend on one another). C1 V_oth > V_own; C2 V_env ≤ {LITTLE:g} V_oth; C3 samples ≥ {ENOUGH} p_c; C4 covered ≥ {REACH:.0%};
  ?: some of the bootstrap samples say otherwise."""


def report(findings: Findings, all: bool) -> str:
    """Everything that is printed."""
    rows = _shown(findings.rows, all)
    lines = [_table(findings, rows)]
    if len(rows) < len(findings.rows):
        lines.append(f"  ({len(findings.rows) - len(rows)} more between these by predicted gain: --all)")
    lines += ["", "whom they must hear (over the horizon; at once)"]
    lines += [f"  {line}" for line in _needs(findings, rows)]
    lines += ["", LEGEND, "", *_summary(findings)]
    return "\n".join(lines)


def _shown(rows: Sequence[Row], all: bool) -> list[Row]:
    """All, or the agents with the largest and the smallest predicted gain, in their order."""
    if all or len(rows) <= FEW:
        return list(rows)
    ranked = sorted(rows, key=lambda row: (-row.gain, row.agent))
    return sorted(ranked[: FEW // 2] + ranked[-FEW // 2 :], key=lambda row: row.agent)


def _table(findings: Findings, rows: Sequence[Row]) -> str:
    over = findings.over
    cells = [
        [
            "agent",
            "V_own",
            "V_oth",
            "V_env",
            "R",
            "",
            "R_action",
            "p_c",
            "covered",
            "gain",
            "must",
            "C1 C2 C3 C4",
        ]
    ]
    for row in rows:
        at = row.agent
        cells.append(
            [
                row.name,
                *(number(float(part.value[at])) for part in (over.own, over.others, over.chance)),
                ratio(float(over.ceiling.value[at])),
                _span(over.ceiling, at),
                ratio(float(over.action_ceiling.value[at])),
                str(row.unknown),
                f"{float(row.covered.value):.0%}",
                ratio(row.gain),
                ratio(row.gain_needed),
                " ".join(("✓" if held else "–") + (" " if sure else "?") for held, sure in row.conditions.values()),
            ]
        )
    return columns(cells)


def _needs(findings: Findings, rows: Sequence[Row]) -> list[str]:
    width = max(len(row.name) for row in rows)
    over, once = findings.over, findings.once
    same = np.array_equal(over.total.value, once.total.value)  # a horizon of one step
    lines = []
    for row in rows:
        line = f"{row.name:<{width}}  {_listed(findings, over, row.needed, row.agent)}"
        line += "" if same else f";  at once: {_listed(findings, once, once.needed(row.agent), row.agent)}"
        lines.append(line + _unknown(findings, row))
    return lines


def _listed(findings: Findings, found: Influence, others: Sequence[int], agent: int) -> str:
    """The first few of them with their share of V_oth."""
    if not others:
        return "nobody"
    told = [
        f"{findings.agents[other].name} {_percent(found.share.value[agent, other])} {_interval(found.share, (agent, other))}"
        for other in others[:TOP]
    ]
    more = len(others) - TOP
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _unknown(findings: Findings, row: Row) -> str:
    """Where most of V_oth is laid to nobody, that it is."""
    known = findings.over.known(row.agent)
    return "" if known >= KNOWN else f"  (only {known:.0%} of V_oth can be laid to anybody with so few states)"


def _summary(findings: Findings) -> list[str]:
    over, question, rows = findings.over, findings.question, findings.rows
    showing = [row for row in rows if row.shows]
    team = float(over.team.value)
    if not float(sum(abs(part.value).sum() for part in (over.own, over.others, over.chance))):
        return [
            "nothing can be said: in no state that was visited does anybody's return depend on anything. More --states, a longer --horizon, or a team "
            "that comes to other states (--run) may show more."
        ]
    count = sum(len(row.needed) for row in rows) / len(rows)
    lines = [
        f"team: R {ratio(team)} {_span(over.team, ...)}; predicted gain with --topology {question.topology} and {question.samples:,} samples "
        f"{ratio(findings.team_gain)}, if everybody heard whom it must (mean {count:.1f} of {len(rows) - 1}) {ratio(findings.team_gain_needed)}"
    ]
    if len(showing) == len(rows):
        lines.append("hearing should pay, for everybody: C1 to C4 hold.")
        return lines
    why = [
        ("C1", "their own actions matter as much as the others'"),
        ("C2", "too much of what they are paid is chance and later actions"),
        ("C3", "there are too few samples for what the critic must know"),
        ("C4", "they do not hear all who matter"),
    ]
    missing = [
        f"{sum(not row.conditions[name][0] for row in rows)} by {name} ({text})"
        for name, text in why
        if not all(row.conditions[name][0] for row in rows)
    ]
    who = (
        f"hearing should pay for {len(showing)} of {len(rows)} agents" if showing else "hearing is not expected to pay"
    )
    lines.append(f"{who}; held back: {', '.join(missing)}.")
    return lines


def number(value: float) -> str:
    """Three digits; rounding errors are zero."""
    if math.isinf(value):
        return "∞"
    return "0" if abs(value) < 1e-12 else f"{value:.3g}" if abs(value) < 1e4 or abs(value) >= 1e6 else f"{value:.0f}"


def ratio(value: float) -> str:
    """Of samples: two decimals."""
    return f"{value:.2f}" if value < 100 else number(value)


def _percent(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.0%}" if value < 10 else ">999%"


def _span(estimate: Any, place: Any) -> str:
    low, high = (float(part[place]) for part in (estimate.low, estimate.high))
    return f"[{ratio(low)}, {ratio(high)}]"


def _interval(estimate: Any, place: Any) -> str:
    low, high = (_percent(float(part[place])) for part in (estimate.low, estimate.high))
    return f"[{low}, {high}]"
