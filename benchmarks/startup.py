"""From mpirun to the first round's line, over the time in which the same ranks only import torch and MPI.

    python benchmarks/startup.py [--ranks 16] [--pairs 5]

The two alternate, so that a noisy machine disturbs both alike. The target is a ratio of at most 1.3.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from measure import head, spread, start

BARE = "import torch\nfrom mpi4py import MPI\n"


def bare(ranks: int) -> float:
    """Seconds of a job that imports torch and MPI, and ends."""
    began = time.monotonic()
    process = start(ranks, "-c", BARE)
    process.communicate(timeout=600)
    return time.monotonic() - began


def first_line(ranks: int, folder: Path) -> float:
    """Seconds until the default job has printed the line of its first round."""
    began = time.monotonic()
    process = start(ranks, "-m", "perla_net.run", "--rounds", "1", "--evaluate-episodes", "0", "--out", str(folder))
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("round"):
            found = time.monotonic() - began
            process.communicate(timeout=600)
            return found
    raise RuntimeError("the job ended without the line of a round")


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--ranks", type=int, default=16)
    reader.add_argument("--pairs", type=int, default=5)
    given = reader.parse_args()
    print(head(f"start of the default job on {given.ranks} ranks"))
    ratios, imports, lines = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(given.pairs):
            imports.append(bare(given.ranks))
            lines.append(first_line(given.ranks, Path(folder) / str(pair)))
            ratios.append(lines[-1] / imports[-1])
            print(
                f"pair {pair + 1}: bare imports {imports[-1]:.1f} s, first round's line {lines[-1]:.1f} s, ratio {ratios[-1]:.2f}",
                flush=True,
            )
    print(f"bare imports {spread(imports, '.1f')} s; first line {spread(lines, '.1f')} s; ratio {spread(ratios)}")


if __name__ == "__main__":
    main()
