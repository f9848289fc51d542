"""The laws as one figure. Theorems 1 and 3: lines are predicted (with intervals), dots measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import numpy as np

from ..ground.pictures import pyplot_for, save
from .convergence import CRITIC_LIMIT, GAIN_LIMIT, Convergence
from .measure import FORMS
from .nonstationarity import Nonstationarity
from .variance import Law, Row

COLOURS = {"state": "#009e73", "action": "#0072b2", "control": "#d55e00"}
LINES = {"monte_carlo": ("-", "o", "monte_carlo"), "stratified": (":", "s", "stratified")}
OUTSIDE: dict[str, Any] = {"fontsize": 8, "loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 3}
AVERAGED = ", averaged critic"
BASELINE_COLOURS = ["#333333", "#888888", "#b279a2", "#e45756", "#72b7b2"]


def draw(
    file: Path,
    one: Law | None,
    three: Law | None,
    convergences: Sequence[Convergence],
    changes: Nonstationarity | None,
) -> None:
    """Write the picture; a part that there is nothing for stays empty and says so. Raises InputError."""
    pyplot = pyplot_for(file)
    figure, ((first, second), (third, fourth)) = pyplot.subplots(2, 2, figsize=(14, 11), layout="constrained")
    for axes, data, painter in (
        (first, one, _variances),
        (second, three, _gradients),
        (third, convergences, _convergence),
        (fourth, changes, _changes),
    ):
        if data:
            painter(axes, data)
        else:
            axes.set_axis_off()
            axes.set_title("no game asked for that this is about")
    figure.suptitle(
        "upper row: lines are predicted, with the intervals of all comparisons together; dots are measured", fontsize=10
    )
    save(figure, file, dpi=130)


def _variances(axes: Any, law: Law) -> None:
    for form in FORMS:
        _curves(axes, [row for row in law.rows if row.quantity == form and row.samples], "excess", form)
    axes.set(xscale="log", yscale="log", xlabel="samples K", ylabel="variance of the value estimate over that of exact")
    axes.set_title(f"Theorem 1: the excess falls as 1/K ({law.game})")
    _label_samples(axes, law)
    axes.legend(**OUTSIDE)


def _gradients(axes: Any, law: Law) -> None:
    for form in FORMS:
        _curves(axes, [row for row in law.rows if row.quantity == form and row.samples], "variance", form)
    lines = [row for row in law.rows if row.quantity.startswith("baseline: ")]
    for row, colour in zip(lines, BASELINE_COLOURS):
        height = row.checks["exact"]["variance"].predicted
        if height > 0:
            name = row.quantity.removeprefix("baseline: ")
            label = (
                f"no embedding, baseline {name}"
                if not name.endswith(AVERAGED)
                else f"exactly averaged critic, baseline {name.removesuffix(AVERAGED)}"
            )
            axes.axhline(height, color=colour, linewidth=1, linestyle="--", label=label)
    axes.set(xscale="log", yscale="log", xlabel="samples K", ylabel="variance of the policy gradient (trace)")
    axes.set_title(f"Theorem 3: variance of the policy gradient ({law.game})")
    _label_samples(axes, law)
    axes.legend(**OUTSIDE)


def _label_samples(axes: Any, law: Law) -> None:
    counts = sorted({row.samples for row in law.rows if row.samples})
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()


def _curves(axes: Any, rows: Sequence[Row], check: str, form: str) -> None:
    for estimator, (line, marker, name) in LINES.items():
        found = [(row.samples, row.checks[estimator][check]) for row in rows if estimator in row.checks]
        kept = [(samples, one) for samples, one in found if one.predicted > 0]
        if not kept:
            continue
        samples = [entry[0] for entry in kept]
        axes.plot(samples, [one.predicted for _, one in kept], line, color=COLOURS[form], linewidth=1.2)
        below = [max(one.predicted - max(one.low, one.predicted * 1e-3), 0) for _, one in kept]
        above = [one.high - one.predicted for _, one in kept]
        axes.errorbar(samples, [one.predicted for _, one in kept], [below, above], fmt="none", color=COLOURS[form], alpha=0.4,
                      capsize=3)  # fmt: skip
        axes.plot(samples, [one.measured for _, one in kept], marker, color=COLOURS[form], markersize=5,
                  fillstyle="full" if estimator == "monte_carlo" else "none", label=f"{form}, {name}")  # fmt: skip


def _convergence(axes: Any, found: Sequence[Convergence]) -> None:
    for one, colour in zip(found, ["#4c78a8", "#f58518", "#54a24b", "#e45756", "#b279a2", "#72b7b2", "#9d755d"] * 9):
        axes.plot(
            one.steps,
            np.maximum(np.median(one.critic, 1), 1e-6),
            "-",
            color=colour,
            label=f"{one.game}: critic to exact",
        )
        axes.plot(
            one.steps, np.maximum(np.median(one.gain, 1), 1e-6), "--", color=colour, label=f"{one.game}: best change"
        )
    for limit, line, label in ((CRITIC_LIMIT, "-.", "critic"), (GAIN_LIMIT, ":", "best change")):
        axes.axhline(limit, color="#333333", linewidth=1, linestyle=line, label=f"limit of the worst run's {label}")
    axes.set(
        xscale="log", yscale="log", xlabel="steps", ylabel="share of the greatest difference of values (median run)"
    )
    axes.set_title("Theorem 6: critic and policies converge")
    axes.legend(**OUTSIDE)


def _changes(axes: Any, found: Nonstationarity) -> None:
    rows = [row for row in found.rows if row.gamma == found.rows[-1].gamma]
    places = np.arange(len(rows))
    bars = (
        ("value, without embedding", [row.value[0] for row in rows], "#bbbbbb"),
        ("value, with", [row.value[1] for row in rows], "#4c78a8"),
        ("advantage, without", [row.advantage[0] for row in rows], "#888888"),
        ("advantage, with (0 but for rounding)", [row.advantage[1] for row in rows], "#1f3f66"),
        ("advantage, learned, without", [row.learned[0] for row in rows], "#f2c79b"),
        ("advantage, learned, with", [row.learned[1] for row in rows], "#f58518"),
    )
    for index, (label, heights, colour) in enumerate(bars):
        axes.bar(places + 0.14 * (index - 2.5), heights, 0.13, color=colour, label=label)
    axes.set_xticks(places, [f"{row.kind}\n(Σ TV = {row.distance:.2f})" for row in rows])
    axes.set_ylabel("root mean square error right after the change")
    axes.set_title(f"Neighbours change: the critic's error ({found.game}, γ = {rows[0].gamma:g})")
    axes.legend(**OUTSIDE | {"bbox_to_anchor": (0.5, -0.11)})
