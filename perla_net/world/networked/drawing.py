"""Pictures of an environment on its interaction graph. Needs matplotlib (extra ``plot``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...ground.errors import InputError


@dataclass
class Scene:
    """What is to be seen of one copy now.

    nodes [n, 2]: where they are drawn; node_values [n] with the scale ``node_range`` and its name and unit
    ``node_label``; node_names under them; edges (a, b) with edge_values [edges] likewise; where both (a, b) and (b, a) are
    there, each is drawn beside the middle, on the left of its direction; marks: (x, y, text) of further things.
    """

    title: str
    nodes: np.ndarray
    node_values: np.ndarray | None = None
    node_label: str = ""
    node_range: tuple[float, float] = (0.0, 1.0)
    node_names: list[str] | None = None
    edges: list[tuple[int, int]] = field(default_factory=list)
    edge_values: np.ndarray | None = None
    edge_label: str = ""
    edge_range: tuple[float, float] = (0.0, 1.0)
    marks: list[tuple[float, float, str]] = field(default_factory=list)
    size: tuple[float, float] = (7.2, 6.4)
    """Inches; 100 dots each."""
    frame: tuple[float, float] | None = None
    """Least and greatest coordinate shown, along both axes; else what there is."""
    equal: bool = True
    """One unit is as long along both axes."""


def draw(scene: Scene) -> np.ndarray:
    """The scene as uint8 [height, width, 3]. Raises InputError where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.cm import ScalarMappable
        from matplotlib.collections import LineCollection
        from matplotlib.colors import Normalize
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(
            'a picture needs matplotlib; install it with: pip install -c constraints.txt ".[plot]"'
        ) from None
    figure = Figure(figsize=scene.size, dpi=100)
    canvas = FigureCanvasAgg(figure)
    right = 0.86 if scene.node_values is not None else 0.97
    low = 1.05 / scene.size[1] if scene.edge_values is not None else 0.04
    top = 1 - 0.5 / scene.size[1]
    axes = figure.add_axes((0.03, low, right - 0.05, top - low))  # by hand: laying out takes longer than drawing
    if scene.equal:
        axes.set_aspect("equal")
    axes.axis("off")
    axes.margins(0.12)
    if scene.frame:
        axes.set(xlim=scene.frame, ylim=scene.frame)
    axes.set_title(scene.title)
    if scene.edges:
        lines, tips = _beside(scene)
        colours: Any = "#9a9a9a"
        if scene.edge_values is not None:
            shades = ScalarMappable(Normalize(*scene.edge_range), "YlOrRd")
            colours = shades.to_rgba(scene.edge_values)
            figure.colorbar(
                shades,
                cax=figure.add_axes((0.2, 0.65 / scene.size[1], 0.5, 0.13 / scene.size[1])),
                orientation="horizontal",
                label=scene.edge_label,
            )
        axes.add_collection(LineCollection(list(lines), colors=colours, linewidths=3.0, zorder=1))
        if scene.edge_values is not None:  # where each is going
            axes.scatter(*tips.T, c=colours, s=30, marker="o", zorder=2, linewidths=0)
    shown: Any = "#4c78a8"
    if scene.node_values is not None:
        scale = ScalarMappable(Normalize(*scene.node_range), "viridis")
        shown = scale.to_rgba(scene.node_values)
        figure.colorbar(scale, cax=figure.add_axes((right, 0.2, 0.025, 0.62)), label=scene.node_label)
    axes.scatter(*scene.nodes.T, c=shown, s=260, zorder=3, edgecolors="#333333")
    for name, (x, y) in zip(scene.node_names or [], scene.nodes):
        axes.annotate(name, (x, y), (0, -13), textcoords="offset points", ha="center", va="top", fontsize=8, zorder=4)
    for x, y, text in scene.marks:
        axes.annotate(text, (x, y), ha="center", va="center", fontsize=9, zorder=4)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _beside(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Edges as segments [edges, 2, 2], moved to the left of their direction where both directions are there, and tips."""
    ends = np.array(scene.edges)
    start, stop = scene.nodes[ends[:, 0]].astype(float), scene.nodes[ends[:, 1]].astype(float)
    along = stop - start
    length = np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-12)
    known = set(scene.edges)
    both = np.array([(b, a) in known for a, b in scene.edges])[:, None]
    # Screen's y points up: the left of (x, y) is (−y, x).
    typical = float(np.median(length))
    aside = np.where(both, 0.05 * typical, 0.0) * np.stack([-along[:, 1], along[:, 0]], 1) / length
    segments = np.stack([start + aside, stop + aside], 1)
    return segments, stop + aside - 0.25 * along
