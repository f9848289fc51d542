"""Roads with their queues, and signals with what they let through: the pictures of ``traffic:grid`` and ``traffic:FILE``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .drawing import PALE, Lines, Marks, Scale, Scene

WAITING = Scale("vehicles waiting on a road", "plasma_r", 0, whole=True)
JUNCTION, GREEN, FULL, OUTSIDE = "#3a3a3a", "#3ddc97", "#d55e00", "#7b5ea7"
ASIDE, HALF, WIDE = 0.06, 0.15, 0.075
"""Of the typical length of a road: from the middle line to a carriageway's, from a junction's middle to its edge, a carriageway's width."""


@dataclass(frozen=True)
class RoadMap:
    """Carriageways [links, 2, 2] from where vehicles enter to the stop line; middles of signals and of other junctions [n, 2]; half the
    width of these, and the width of a carriageway."""

    roads: np.ndarray
    signals: np.ndarray
    others: np.ndarray
    half: float
    wide: float

    @classmethod
    def of(
        cls, tails: np.ndarray, heads: np.ndarray, signals: np.ndarray, others: np.ndarray, open_ended: np.ndarray
    ) -> RoadMap:
        """tails, heads [links, 2]: middles of the junctions at both ends; ``open_ended`` [links]: the tail is none."""
        along = (heads - tails).astype(float)
        length = np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
        typical = float(np.median(length))
        along /= length
        right = np.stack([along[:, 1], -along[:, 0]], 1)  # traffic keeps right; the screen's y points up
        gap = np.minimum(HALF * typical, 0.35 * length)
        starts = tails + np.where(open_ended[:, None], 0, gap) * along
        roads = np.stack([starts, heads - gap * along], 1) + (ASIDE * typical * right)[:, None]
        return cls(roads, signals, others, HALF * typical, WIDE * typical)


def road_scene(
    title: str,
    step: int,
    when: str,
    drawn: RoadMap,
    waiting: np.ndarray,
    present: np.ndarray,
    storage: np.ndarray,
    outside: np.ndarray,
    passing: tuple[np.ndarray, np.ndarray],
) -> Scene:
    """waiting, present, storage, outside [links]: vehicles in the queue, on the road, as many as it holds, that find no room to
    enter; ``passing``: ways through junctions that are green, and green but give way, [n, 2, 2] each."""
    start, stop = drawn.roads[:, 0], drawn.roads[:, 1]
    share = np.minimum(waiting / np.maximum(storage, 1), 1)[:, None]
    some, full, out = waiting > 0, present >= storage, outside > 0
    queues = np.stack([stop - share * (stop - start), stop], 1)
    green, yielding = passing
    return Scene(
        title,
        step,
        [
            Lines(drawn.roads, "road", colour=PALE, width=drawn.wide, broad=True),
            Lines(
                queues[some], "queue, as long as its share of the road", waiting[some], WAITING, width=drawn.wide,
                broad=True, order=2,
            ),
            Marks(
                drawn.others, "junction without signal", colour=PALE, shape="s", radius=drawn.half, edge="none", order=0
            ),
            Marks(drawn.signals, "signal", colour=JUNCTION, shape="s", radius=drawn.half, edge="none"),
            Lines(green, "green: may pass", colour=GREEN, width=drawn.wide / 3, broad=True, order=4),
            Lines(yielding, "green, but gives way", colour=GREEN, width=drawn.wide / 3, broad=True, style=":", order=4),
            Marks(start[full], "road full: nobody can enter (spillback)", colour=FULL, shape="X", size=70, order=5),
            Marks(
                start[out], "waiting outside", colour=OUTSIDE, size=260, amounts=outside[out], unit="vehicles",
                edge="white", order=4,
            ),
        ],
        when,
    )  # fmt: skip
