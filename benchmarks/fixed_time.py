"""How good is the fixed-time plan? Tries cycles, splits and offsets on held-out episodes of ``traffic:grid``.

python benchmarks/fixed_time.py [--episodes 20]
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
from measure import head

from perla_net.world.networked.traffic import CONTROLLERS, FixedTime, LongestQueue, MaxPressure, TrafficGrid


def delay(controller: object, episodes: int) -> float:
    """Mean delay per vehicle, s, of ``controller(grid)`` over whole episodes."""
    grid = TrafficGrid(episodes)
    grid.reset(np.arange(episodes), [np.random.SeedSequence(99, spawn_key=(copy,)) for copy in range(episodes)])
    acting = controller(grid)
    for _ in range(grid.horizon):
        grid.step(list(acting.act(grid)))
    return float(grid.metrics(np.arange(episodes))["delay"].mean())


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--episodes", type=int, default=20)
    episodes = reader.parse_args().episodes
    print(head(f"delay per vehicle, s, over {episodes} episodes"))
    splits = itertools.product((2, 3, 4, 5), (1, 2, 3), (3, 4, 5, 6), (1, 2, 3))
    found = sorted((delay(lambda grid, s=split: FixedTime(grid, s), episodes), split) for split in splits)
    for seconds, split in found[:5]:
        print(f"  fixed-time, greens {split} steps, wave 3: {seconds:.1f}")
    for wave in (0, 1, 2, 3, 4, 6):
        print(
            f"  fixed-time, greens {found[0][1]}, wave {wave}: {delay(lambda grid, w=wave: FixedTime(grid, found[0][1], w), episodes):.1f}"
        )
    for hold in (5, 10, 15, 20):
        for kind in (LongestQueue, MaxPressure):
            print(
                f"  {kind.__name__}, held for {hold} s: {delay(lambda grid, k=kind, h=hold: k(grid, h), episodes):.1f}"
            )
    for name, kind in CONTROLLERS.items():
        print(f"  as shipped, {name}: {delay(kind, episodes):.1f}")


if __name__ == "__main__":
    main()
