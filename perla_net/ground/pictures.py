"""What ``--draw FILE`` needs of matplotlib, and a team on its graph. Needs matplotlib (extra ``plot``) and networkx."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

from .errors import InputError
from .text import size_text

ALIKE = 1.05
"""Bytes that differ by less than this factor are drawn alike."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7b5ea7", "#5f6b6d")
"""Okabe and Ito (2008), told apart also by people who confuse red and green; without their yellow and black."""


def pyplot_for(file: Path) -> Any:
    """matplotlib's pyplot without a display. Raises InputError where it is not installed, or cannot write such a file."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise InputError('--draw needs matplotlib; install it with: pip install -c constraints.txt ".[plot]"') from None
    known = pyplot.Figure().canvas.get_supported_filetypes()
    if file.suffix[1:].lower() not in known:
        raise InputError(f"--draw {file}: cannot be written; the name must end in one of {', '.join(sorted(known))}")
    return pyplot


def save(figure: Any, file: Path, **options: Any) -> None:
    """Write a figure for ``--draw``, and let go of it. Raises InputError."""
    from matplotlib import pyplot

    try:
        figure.savefig(file, **options)
    except (ValueError, OSError) as error:
        raise InputError(f"--draw {file}: cannot be written ({getattr(error, 'strerror', None) or error})") from None
    finally:
        pyplot.close(figure)


def graph_places(number: int, edges: Iterable[tuple[int, int]]) -> tuple[Any, str]:
    """Where to draw ``number`` nodes that stand nowhere, {node: (x, y)}, and a sentence on that: on a circle where all have as many
    neighbours and two, or all, of them, else by Kamada and Kawai (1989), in components or above 80 by Fruchterman and Reingold (1991)."""
    import networkx as nx

    whole = nx.Graph()
    whole.add_nodes_from(range(number))
    whole.add_edges_from(edges)
    degrees = {degree for _, degree in whole.degree}
    joined = number > 0 and nx.is_connected(whole) and number <= 80
    if number < 3 or len(degrees) == 1 and not (joined and 2 < min(degrees) < number - 1):
        return nx.circular_layout(whole), "Agents stand on a circle."
    if joined:
        return nx.kamada_kawai_layout(whole), "Agents are placed by Kamada and Kawai's layout."
    return nx.spring_layout(whole, seed=0), "Agents are placed by Fruchterman and Reingold's layout."


def short_names(names: Sequence[str]) -> list[str]:
    """Names without what all of them begin with, up to the last underscore of that: ``signal_0_1`` becomes ``0_1``."""
    first, last = min(names), max(names)
    common = next((at for at, (a, b) in enumerate(zip(first, last)) if a != b), len(first) if len(names) > 1 else 0)
    begin = first.rfind("_", 0, common) + 1
    return [name[begin:] or name for name in names]


def draw_graph(
    axes: Any,
    graph: Any,
    places: Any = None,
    *,
    names: Sequence[str] | None = None,
    sizes: Mapping[tuple[int, int], float] | None = None,
    values: Sequence[float] | None = None,
    value_label: str = "",
    absent: Iterable[tuple[int, int]] = (),
    bars: bool = True,
) -> str:
    """Draw a team on its communication graph into matplotlib ``axes``; returns a line on what the edges carry, for a title.

    graph: networkx graph with nodes 0 to N − 1; an edge leads from who speaks to who hears. places [N][2]: where agents stand, y
    upwards; None: as :func:`graph_places` says. names [N]: shortened; None: numbers. sizes: (source, target) → bytes a round: the
    more, the wider and the darker. values [N]: colours of the agents, NaN: unknown, with their name ``value_label``. absent: edges
    drawn dotted. ``bars``: colour bars for what differs.
    """
    import numpy as np
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    number = len(graph)
    found = graph_places(number, graph.edges)[0] if places is None else places
    where = np.array([found[node] for node in range(number)], float).reshape(number, -1)[:, :2]
    if where.shape[1] == 1:  # on a line
        where = np.concatenate([where, np.zeros_like(where)], 1)
    given, dotted = dict(sizes or {}), set(absent)
    edges = [(int(a), int(b)) for a, b in graph.edges]
    there = set(edges)
    mutual = not graph.is_directed() or all(
        (b, a) in there
        and given.get((a, b), 0.0) <= ALIKE * given.get((b, a), 0.0)
        and ((a, b) in dotted) == ((b, a) in dotted)
        for a, b in edges
    )
    if mutual:
        edges = [(a, b) for a, b in edges if a <= b or (b, a) not in there]
    weights = np.array([max(given.get(edge, 0.0), given.get(edge[::-1], 0.0) if mutual else 0.0) for edge in edges])
    least, most = (float(weights.min()), float(weights.max())) if len(weights) else (0.0, 0.0)
    differ = bool(given) and most > ALIKE * least
    shades = ScalarMappable(Normalize(-0.35 * most, most), "Blues") if differ else None
    colours = shades.to_rgba(weights) if shades else ["#5b6a75"] * len(edges)
    widths = 0.6 + 3.4 * weights / most if differ else np.full(len(edges), 1.4 if number <= 60 else 0.7)
    area = next(size for upto, size in ((24, 420), (60, 150), (200, 50), (number, 14)) if number <= upto)
    axes.axis("off")
    axes.set_aspect("equal")
    order = np.argsort(weights, kind="stable")  # those that carry most on top
    if len(edges) > 1500:
        axes.add_collection(
            LineCollection(where[np.array(edges)[order]], colors=[colours[i] for i in order], linewidths=widths[order])
        )
    for index in order if len(edges) <= 1500 else ():
        source, target = edges[index]
        axes.add_patch(
            FancyArrowPatch(
                where[source],
                where[target],
                connectionstyle=f"arc3,rad={0.0 if mutual and not _crosses(where, source, target) else 0.13}",
                arrowstyle="-" if mutual else "-|>",
                mutation_scale=7 + 2 * widths[index],
                shrinkA=area**0.5 / 2,
                shrinkB=area**0.5 / 2 + (0 if mutual else 1),
                linewidth=widths[index],
                linestyle=":" if edges[index] in dotted else "-",
                color=colours[index],
                zorder=1,
            )
        )
    known = values is not None and np.isfinite(values).any()
    marks = axes.scatter(
        *where.T,
        c=values if known else "#0072b2",
        s=area,
        cmap="viridis" if known else None,
        plotnonfinite=True,
        edgecolors="white",
        zorder=3,
    )
    labels = short_names(names) if names else [str(node) for node in range(number)]
    inside = number <= 24 and max(map(len, labels), default=0) <= 3 and not known
    for label, (x, y) in zip(labels if number <= 60 else [], where):
        text = axes.annotate(
            label.replace("$", r"\$"),
            (x, y),
            (0, 0 if inside else -(area**0.5) / 2 - 6),
            textcoords="offset points",
            ha="center",
            va="center",
            color="white" if inside else "#333333",
            fontsize=9 if inside and len(label) < 3 else 7.5,
            zorder=4,
        )
        if not inside:
            text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    axes.margins(0.1)
    for show, mapped, label, form in (
        (shades is not None, shades, "bytes a round", FuncFormatter(lambda size, _: size_text(size) if size else "0")),
        (known, marks, value_label, None),
    ):
        if bars and show:
            bar = axes.figure.colorbar(mapped, ax=axes, shrink=0.6, aspect=25, pad=0.02, label=label, format=form)
            bar.locator = MaxNLocator(5)
            if mapped is shades:
                bar.ax.set_ylim(0, most)
            bar.outline.set_linewidth(0.5)
    if not given:
        return f"{len(there)} edges"
    if differ:
        return f"edges carry {size_text(least)} to {size_text(most)} a round"
    return f"every edge carries {'about ' * (least < most)}{size_text(most)} a round"


def _crosses(where: Any, source: int, target: int) -> bool:
    """Whether a straight edge would run across another agent."""
    import numpy as np

    along = where[target] - where[source]
    length = max(float(np.linalg.norm(along)), 1e-12)
    away = (where - where[source]) / length
    ahead, aside = away @ along / length, away @ np.array([-along[1], along[0]]) / length
    return bool(((np.abs(aside) < 0.03) & (ahead > 0.03) & (ahead < 0.97)).any())
