"""Who influences whom, as one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

import networkx as nx

from ..ground.pictures import pyplot_for, save, short_names
from .findings import Findings
from .words import ratio


def draw(file: Path, findings: Findings, places: Sequence[Sequence[float]] | None) -> None:
    """Left, the matrix of shares of influence over the horizon, with frames around those whom the topology lets an agent hear; right, the
    graph of whom everybody must hear. places: where agents stand [N][2], None: on a circle. Raises InputError."""
    pyplot = pyplot_for(file)
    names, number = short_names([agent.name for agent in findings.agents]), len(findings.agents)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(15, 7.2), layout="constrained")
    shares = findings.over.among
    image = left.imshow(shares, cmap="Blues", vmin=0, vmax=max(0.01, float(shares.max())))
    for row in findings.rows:
        for other in row.heard:
            frame = {"fill": False, "edgecolor": "#f58518", "linewidth": 1.5 if number <= 24 else 0.8}
            left.add_patch(pyplot.Rectangle((other - 0.46, row.agent - 0.46), 0.92, 0.92, **frame))
    if number <= 12:
        for agent, other in zip(*shares.nonzero()):
            colour = "white" if shares[agent, other] > 0.6 * shares.max() else "black"
            left.text(other, agent, f"{shares[agent, other]:.0%}", ha="center", va="center", color=colour, fontsize=8)
    if number <= 40:
        left.set_xticks(range(number), names, rotation=90, fontsize=7)
        left.set_yticks(range(number), names, fontsize=7)
    left.set(xlabel="whose action", ylabel="whose return")
    left.set_title(
        f"share of the others' influence over the horizon; framed: heard under {findings.question.topology}",
        fontsize=10,
    )
    figure.colorbar(image, ax=left, shrink=0.8, format="{x:.0%}" if shares.max() >= 0.05 else "{x:.1%}")
    _graph(right, findings, names, places, shares)
    over = findings.over
    figure.suptitle(
        f"team: R {ratio(float(over.team.value))} [{ratio(float(over.team.low))}, {ratio(float(over.team.high))}], predicted gain "
        f"{ratio(findings.team_gain)} with this topology, {ratio(findings.team_gain_needed)} if everybody heard whom it must",
        fontsize=10,
    )
    save(figure, file, dpi=120, bbox_inches="tight")


def _graph(axes: Any, findings: Findings, names: list[str], places: Any, shares: Any) -> None:
    """Arrows j → i where i must hear j, as wide as the share; agents coloured by the predicted gain if they do."""
    number = len(findings.agents)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(number))
    graph.add_edges_from((other, row.agent) for row in findings.rows for other in row.needed)
    where = {agent: place[:2] for agent, place in enumerate(places)} if places else nx.circular_layout(graph)
    gains = [min(row.gain_needed, 1e3) for row in findings.rows]
    size = 420 if number <= 40 else 80
    widths = [0.5 + 4 * float(shares[target, source]) for source, target in graph.edges]
    nodes = nx.draw_networkx_nodes(
        graph,
        where,
        ax=axes,
        node_color=gains,
        cmap="YlGn",
        edgecolors="#444444",
        vmin=1,
        vmax=max(1.1, *gains),
        node_size=size,
    )
    nx.draw_networkx_edges(
        graph,
        where,
        ax=axes,
        width=widths,
        edge_color="#888888",
        node_size=size,
        connectionstyle="arc3,rad=0.12",
        arrowsize=10,
    )
    if number <= 40:
        nx.draw_networkx_labels(graph, where, dict(enumerate(names)), ax=axes, font_size=8, font_color="black")
    axes.set_title(
        "whom everybody must hear (arrows: from who acts to who must hear it); colour: predicted gain then", fontsize=10
    )
    axes.figure.colorbar(nodes, ax=axes, shrink=0.8, label="predicted gain")
    if not graph.edges:
        axes.text(0.5, 0, "nobody has to hear anybody", transform=axes.transAxes, ha="center", fontsize=10)
    axes.axis("off")
