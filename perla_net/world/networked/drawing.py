"""Pictures of the program's own environments. Needs matplotlib (extra ``plot``).

An environment tells what is to be seen as a :class:`Scene`: layers of numbers, no colours of its own making. A :class:`Painter` is given
all scenes of an episode, and fixes what they share before it draws the first: what colours and areas mean, how far
one sees, the legend. So pictures of one film can be compared, and a sheet of nine has one colour bar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, Sequence

import numpy as np

from ...ground.errors import InputError
from ...ground.pictures import COLOURS as COLOURS

INK, GREY, PALE = "#333333", "#9a9a9a", "#dedede"
PANEL = 6.5
"""Inches across that sizes of marks, lines and letters are meant for; in smaller panels they shrink."""
LEAST_LETTERS = 5.5
DOTS = 100


@dataclass(frozen=True)
class Scale:
    """What colours mean. Ends that are not given are those of the episode, rounded outwards."""

    label: str
    """With its unit."""
    colours: str = "viridis"
    low: float | None = None
    high: float | None = None
    centre: float | None = None
    """Value of the middle colour; the colours reach as far on both sides."""
    whole: bool = False
    """The values are whole numbers."""
    limits: tuple[float, ...] = ()
    """Values that are marked in the colour bar."""


class _Copied:
    """Numbers of a layer are its own: an environment writes over its arrays."""

    def __post_init__(self) -> None:
        for name in ("ends", "places", "values", "amounts"):
            if getattr(self, name, None) is not None:
                setattr(self, name, np.array(getattr(self, name)))


@dataclass
class Lines(_Copied):
    """ends [n, 2, 2]. ``label``: in the legend. Coloured by ``values`` [n] on ``scale``, else all in ``colour``. ``width``: points, or
    with ``broad`` a length like the ends'."""

    ends: np.ndarray
    label: str
    values: np.ndarray | None = None
    scale: Scale | None = None
    colour: str = GREY
    width: float = 2.0
    broad: bool = False
    style: str = "-"
    order: float = 1
    framed: bool = True
    """They are to be within the picture; else they may lead out of it."""


@dataclass
class Marks(_Copied):
    """places [n, 2]; likewise. ``size``: area in square points; with ``amounts`` [n] the area of the episode's greatest, the others' in
    proportion. ``radius``: a length like the places', in its place. ``trail``: with the way that each has come."""

    places: np.ndarray
    label: str
    values: np.ndarray | None = None
    scale: Scale | None = None
    colour: str | Sequence[str] = GREY
    shape: Any = "o"
    size: float = 200.0
    amounts: np.ndarray | None = None
    unit: str = ""
    """Of the amounts."""
    radius: float | None = None
    edge: str = INK
    trail: bool = False
    order: float = 3


@dataclass
class Texts(_Copied):
    """texts at places [n, 2], moved by ``shift`` points."""

    places: np.ndarray
    texts: Sequence[str]
    size: float = 8.0
    colour: str = INK
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass
class Cells(_Copied):
    """A table of values [rows, columns], the first row on top; cell (row, column) has its middle at (column + x, y − row)."""

    values: np.ndarray
    scale: Scale
    texts: Sequence[Sequence[str]] | None = None
    origin: tuple[float, float] = (0.0, 0.0)


@dataclass
class Axis:
    """Names along an edge of the picture. ticks: (value, name); None: round numbers."""

    label: str
    ticks: Sequence[tuple[float, str]] | None = None


@dataclass
class Scene:
    """What is to be seen of one copy now. ``when``: simulated time with its unit; ``told``: what else the line above a picture says."""

    title: str
    step: int
    layers: list[Lines | Marks | Texts | Cells]
    when: str = ""
    told: str = ""
    note: str = ""
    """What numbers and letters in the picture mean, below it; the same in all scenes."""
    across: Axis | None = None
    up: Axis | None = None
    frame: tuple[float | None, ...] = (None,) * 4
    """Least and greatest x, least and greatest y that are shown; None: what there is in any scene, and a margin."""
    aspect: float | None = None
    """Height over width of a picture; None: one unit is as long along both axes."""
    width: float = 7.6
    """Inches of a single picture."""


def frames(scenes: Sequence[Scene], about: str = "") -> Iterator[np.ndarray]:
    """One picture for each scene, uint8 [height, width, 3], all of one size and with one set of scales. Raises InputError."""
    painter = Painter(scenes, 1, about)
    for number in range(len(scenes)):
        yield painter.paint([number])


def sheet(scenes: Sequence[Scene], most: int, about: str = "") -> np.ndarray:
    """At most so many pictures, evenly spaced from the first scene to the last, with one legend; uint8. Raises InputError."""
    chosen = np.linspace(0, len(scenes) - 1, min(most, len(scenes))).round().astype(int).tolist()
    return Painter(scenes, len(chosen), about, 1.5).paint(chosen)


def rounded_ends(values: np.ndarray, scale: Scale) -> tuple[float, float, np.ndarray]:
    """(least, greatest, ticks) of a scale that shows these values: ends are ticks, but for those that the scale gives."""
    from matplotlib.ticker import MaxNLocator

    values = np.append(values[np.isfinite(values)], scale.limits)
    known = values if len(values) else np.zeros(1)
    low = float(known.min()) if scale.low is None else scale.low
    high = float(known.max()) if scale.high is None else scale.high
    if high - low < 1e-9 * max(1.0, abs(high)):
        high = low + (1.0 if scale.whole else 0.1 * abs(low) or 1.0)
    locator = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=scale.whole, min_n_ticks=2)
    ticks = np.asarray(locator.tick_values(low, high))
    below, above = ticks[ticks <= low + 1e-9 * (high - low)], ticks[ticks >= high - 1e-9 * (high - low)]
    low = float(below[-1]) if scale.low is None and len(below) else low
    high = float(above[0]) if scale.high is None and len(above) else high
    slack = 1e-9 * (high - low)
    return low, high, ticks[(ticks >= low - slack) & (ticks <= high + slack)]


class Painter:
    """Draws scenes of one episode, ``panels`` at a time.

    ``scales``: Scale → (least, greatest) as drawn; ``greatest``: unit → greatest amount; ``frame``: least and greatest x and y;
    ``figure``: with the panels' axes in ``panels``.
    """

    def __init__(self, scenes: Sequence[Scene], panels: int, about: str = "", sharper: float = 1.0) -> None:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            raise InputError(
                'a picture needs matplotlib; install it with: pip install -c constraints.txt ".[plot]"'
            ) from None
        self.scenes, self.first = scenes, scenes[0]
        layers = [layer for scene in scenes for layer in scene.layers]
        self.greatest: dict[str, float] = {}
        found: dict[Scale, list[np.ndarray]] = {}
        for layer in layers:
            if isinstance(layer, (Lines, Marks, Cells)) and layer.scale and layer.values is not None:
                found.setdefault(layer.scale, []).append(np.ravel(layer.values).astype(float))
            if isinstance(layer, Marks) and layer.amounts is not None and len(layer.amounts):
                most = max(self.greatest.get(layer.unit, 0.0), float(np.max(layer.amounts)))
                self.greatest[layer.unit] = most
        self.ticks: dict[Scale, np.ndarray] = {}
        self.scales: dict[Scale, tuple[float, float]] = {}
        for scale, values in found.items():
            if any(map(len, values)):
                low, high, self.ticks[scale] = rounded_ends(np.concatenate(values), scale)
                self.scales[scale] = low, high
        self.colours = {scale: self._colours(scale) for scale in self.scales}
        reached = _frame_of(layers, self.first.aspect is None)
        self.frame = [there if given is None else given for given, there in zip(self.first.frame, reached)]
        self._lay_out(panels, Figure, FigureCanvasAgg, about, sharper)

    def _colours(self, scale: Scale) -> Any:
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        low, high = self.scales[scale]
        if scale.centre is not None:
            reach = max(scale.centre - low, high - scale.centre, 1e-9)
            low, high = scale.centre - reach, scale.centre + reach
        return ScalarMappable(Normalize(low, high), scale.colours)

    def _lay_out(self, panels: int, figure_type: Any, canvas_type: Any, about: str, sharper: float) -> None:
        """By hand, in inches: matplotlib's own way takes longer than drawing, and would move with the contents."""
        left, right, bottom, top = self.frame
        aspect = self.first.aspect or (top - bottom) / (right - left)
        aspect = min(max(aspect, 0.1), 1.1)
        columns = 1 if panels == 1 or aspect < 0.3 else min(3, panels)
        rows = -(-panels // columns)
        width = self.first.width if columns == 1 else 4.3 * columns
        before = 0.62 if self.first.up else 0.12
        after = 0.12
        each = (width - columns * (before + after)) / columns
        self.zoom = min(1.0, max(0.62, each / PANEL))
        below, above = (0.5 if self.first.across else 0.1), 0.34
        high = each * aspect
        legend = self._legend_entries()
        longest = max([len(label) for label in legend], default=1)
        legend_columns = max(1, min(len(legend), int((width - 0.3) / (0.55 + 0.072 * longest))))
        bars, notes = 0.62 * bool(self.scales), 0.2 * bool(self.first.note)
        foot = 0.1 + 0.23 * -(-len(legend) // legend_columns) + notes + bars
        head = 0.36 + 0.2 * bool(about)
        height = head + rows * (above + high + below) + foot
        self.figure = figure = figure_type(figsize=(width, height), dpi=DOTS * sharper, facecolor="white")
        self.canvas = canvas_type(figure)
        figure.text(0.15 / width, 1 - 0.26 / height, _plain(self.first.title), fontsize=12, weight="bold", color=INK)
        if about:
            figure.text(0.15 / width, 1 - 0.48 / height, _plain(about), fontsize=8.5, color="#666666")
        self.panels = []
        for panel in range(panels):
            row, column = divmod(panel, columns)
            x = column * (before + each + after) + before
            y = height - head - row * (above + high + below) - above - high
            self.panels.append(figure.add_axes((x / width, y / height, each / width, high / height)))
        # Points per unit, where one unit is as long both ways.
        self.points = 72 * min(each / (right - left), high / (top - bottom))
        if legend:
            figure.legend(
                list(legend.values()),
                [_plain(label) for label in legend],
                loc="lower left",
                bbox_to_anchor=(0.1 / width, 0.05 / height),
                ncols=legend_columns,
                fontsize=8.5,
                frameon=False,
                borderpad=0,
                labelspacing=0.45,
                borderaxespad=0,
            )
        if notes:
            figure.text(
                0.15 / width, (foot - bars - notes + 0.03) / height, _plain(self.first.note), fontsize=8.5, color=INK
            )
        self.bars = []
        share = (width - 0.2) / max(1, len(self.scales))
        for number, scale in enumerate(self.scales):
            place = (0.3 + number * share, foot - 0.2, min(share - 0.5, 4.2), 0.11)
            self._bar(scale, [place[0] / width, place[1] / height, place[2] / width, place[3] / height])

        # All that no frame changes is drawn once.
        for axes in self.panels:
            self._prepare(axes)
        self.canvas.draw()
        self.around = self.canvas.copy_from_bbox(figure.bbox)

    def _bar(self, scale: Scale, place: Sequence[float]) -> None:
        axes = self.figure.add_axes(place)
        bar = self.figure.colorbar(self.colours[scale], cax=axes, orientation="horizontal")
        bar.set_ticks(self.ticks[scale])
        axes.set_xlim(*self.scales[scale])
        axes.tick_params(labelsize=8, length=2.5, pad=1.5)
        bar.outline.set_linewidth(0.5)
        for limit in scale.limits:
            axes.axvline(limit, color="black", linewidth=1.6)
        bar.set_label(_plain(scale.label), fontsize=8.5, labelpad=1)
        self.bars.append(axes)

    def _legend_entries(self) -> dict[str, Any]:
        """Label → handle of everything that is there in any scene, in the order of the layers."""
        from matplotlib.lines import Line2D

        found: dict[str, Any] = {}
        for scene in self.scenes:
            for layer in scene.layers:
                if isinstance(layer, Lines) and layer.label and len(layer.ends):
                    colour = GREY if layer.scale else layer.colour
                    width = 4.0 if layer.broad else max(1.2, min(4.0, layer.width))
                    found.setdefault(layer.label, Line2D([], [], color=colour, linestyle=layer.style, linewidth=width))
                if isinstance(layer, Marks) and layer.label and len(layer.places):
                    label = layer.label
                    if layer.amounts is not None:
                        label += f" (largest: {self.greatest[layer.unit]:.3g} {layer.unit})"
                    several = not isinstance(layer.colour, str)
                    colour = GREY if layer.scale or several else layer.colour
                    size = 8 if layer.radius is not None or layer.size > 60 else 6
                    line = "-" if layer.trail else "none"
                    found.setdefault(
                        label,
                        Line2D(
                            [],
                            [],
                            linestyle=line,
                            marker=layer.shape,
                            color=GREY,
                            markersize=size,
                            markerfacecolor=colour,
                            markeredgecolor=layer.edge,
                        ),
                    )
        return found

    def paint(self, chosen: Sequence[int]) -> np.ndarray:
        """The scenes of these numbers, one in each panel, as uint8 [height, width, 3]."""
        self.canvas.restore_region(self.around)
        renderer = self.canvas.get_renderer()
        for axes, number in zip(self.panels, chosen):
            self._paint(axes, number)
            artists = [*axes.collections, *axes.lines, *axes.texts]
            for artist in sorted(artists, key=lambda artist: artist.get_zorder()):
                artist.draw(renderer)
                artist.remove()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()

    def _paint(self, axes: Any, number: int) -> None:
        scene = self.scenes[number]
        line = " · ".join(filter(None, (f"step {scene.step}", scene.when, scene.told)))
        size = max(7.5, 10 * self.zoom)
        axes.text(0.5, 1.01, _plain(line), transform=axes.transAxes, ha="center", va="bottom", fontsize=size, color=INK)
        for layer in scene.layers:
            if isinstance(layer, Lines):
                self._lines(axes, layer)
            elif isinstance(layer, Marks):
                self._marks(axes, layer, number)
            elif isinstance(layer, Cells):
                self._cells(axes, layer)
            else:
                self._texts(axes, layer)

    def _prepare(self, axes: Any) -> None:
        """What a panel shows in all frames: limits and the names along its edges."""
        from matplotlib.ticker import MaxNLocator

        left, right, bottom, top = self.frame
        axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[], autoscale_on=False)
        axes.set_frame_on(False)
        if self.first.aspect is None:
            axes.set_aspect("equal")
        for side, axis in ((axes.xaxis, self.first.across), (axes.yaxis, self.first.up)):
            if axis and axis.ticks is None:
                side.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
            elif axis:
                side.set_ticks([value for value, _ in axis.ticks or ()], [_plain(name) for _, name in axis.ticks or ()])
            if axis:
                side.set_label_text(_plain(axis.label), fontsize=max(7.0, 9 * self.zoom))
        axes.tick_params(labelsize=max(6.5, 8 * self.zoom), length=2.5, color=GREY)

    def _shades(self, layer: Any) -> Any:
        return self.colours[layer.scale].to_rgba(layer.values) if layer.scale else layer.colour

    def _lines(self, axes: Any, layer: Lines) -> None:
        from matplotlib.collections import LineCollection

        if len(layer.ends):
            width = max(0.7, layer.width * self.points) if layer.broad else layer.width * self.zoom
            lines = LineCollection(list(layer.ends), colors=self._shades(layer), linewidths=width, zorder=layer.order)
            lines.set_linestyle(layer.style)
            lines.set_capstyle("butt")
            axes.add_collection(lines)

    def _marks(self, axes: Any, layer: Marks, number: int) -> None:
        if not len(layer.places):
            return
        size: Any = layer.size * self.zoom**2
        if layer.radius is not None:
            size = (2 * layer.radius * self.points) ** 2
        elif layer.amounts is not None:
            size = size * np.asarray(layer.amounts) / max(self.greatest[layer.unit], 1e-12)
        if layer.trail:
            self._trail(axes, layer, number)
        shades = self._shades(layer)
        axes.scatter(
            *np.asarray(layer.places).T,
            c=shades if layer.scale or not isinstance(shades, str) else [shades],
            s=size,
            marker=layer.shape,
            zorder=layer.order,
            edgecolors=None if layer.shape in ("x", "|") else layer.edge,
            linewidths=0.8 if layer.shape not in ("x", "|") else 1.8,
        )

    def _trail(self, axes: Any, layer: Marks, number: int) -> None:
        ways = [one.places for scene in self.scenes[: number + 1] for one in scene.layers if _same(one, layer)]
        several = not isinstance(layer.colour, str)
        for mark, way in enumerate(np.stack(ways, 1)):
            axes.plot(
                *way.T, color=layer.colour[mark] if several else layer.colour, linewidth=1.3 * self.zoom, alpha=0.6
            )

    def _cells(self, axes: Any, layer: Cells) -> None:
        values, (x, y) = np.asarray(layer.values, float), layer.origin
        rows, columns = values.shape
        axes.pcolormesh(
            x - 0.5 + np.arange(columns + 1),
            y + 0.5 - np.arange(rows + 1),
            values,
            norm=self.colours[layer.scale].norm,
            cmap=layer.scale.colours,
            edgecolors="white",
            linewidth=1.0,
            zorder=0,
        )
        if layer.texts is not None:
            shades = self.colours[layer.scale].to_rgba(values)
            for row in range(rows):
                for column in range(columns):
                    dark = shades[row, column, :3] @ (0.299, 0.587, 0.114) < 0.55
                    axes.text(
                        x + column,
                        y - row,
                        _plain(layer.texts[row][column]),
                        ha="center",
                        va="center",
                        fontsize=max(LEAST_LETTERS, 11 * self.zoom),
                        color="white" if dark else INK,
                    )

    def _texts(self, axes: Any, layer: Texts) -> None:
        for (x, y), text in zip(layer.places, layer.texts):
            axes.annotate(
                _plain(text),
                (x, y),
                [self.zoom * along for along in layer.shift],
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=max(LEAST_LETTERS, layer.size * self.zoom),
                color=layer.colour,
                zorder=5,
            )


def _plain(text: str) -> str:
    """For matplotlib, to which a dollar sign begins a formula."""
    return text.replace("$", r"\$")


def _same(one: Any, layer: Marks) -> bool:
    return isinstance(one, Marks) and one.label == layer.label and len(one.places) == len(layer.places)


def _frame_of(layers: Sequence[Any], equal: bool) -> tuple[float, float, float, float]:
    """What there is in any layer, and a margin; ``equal``: one unit is as long both ways, so that neither should be much wider."""
    reached = [np.zeros((0, 2))]
    for layer in layers:
        if isinstance(layer, Lines) and not layer.framed:
            continue
        elif isinstance(layer, Lines):
            reached.append(np.reshape(layer.ends, (-1, 2)))
        elif isinstance(layer, Cells):
            (x, y), (rows, columns) = layer.origin, np.shape(layer.values)
            reached.append(np.array([[x - 0.5, y + 0.5], [x + columns - 0.5, y - rows + 0.5]]))
        elif isinstance(layer, Marks):
            places = np.reshape(layer.places, (-1, 2))
            reached += [places + (layer.radius or 0), places - (layer.radius or 0)]
        else:
            reached.append(np.reshape(layer.places, (-1, 2)))
    points = np.concatenate(reached)
    points = points if len(points) else np.zeros((1, 2))
    low, high = points.min(0), points.max(0)
    span = np.maximum(high - low, 1e-9)
    if equal:
        span = np.maximum(span, 0.4 * span.max())
    middle, half = (low + high) / 2, 0.5 * span + 0.05 * (span.max() if equal else span)
    return (
        float(middle[0] - half[0]),
        float(middle[0] + half[0]),
        float(middle[1] - half[1]),
        float(middle[1] + half[1]),
    )
