"""Peak resident memory of a rank, and how it grows with copies, horizon, K and neighbours.

    python benchmarks/memory.py [--ranks 9]

One agent a rank on ``traffic:grid``; two rounds; the largest ``ru_maxrss`` of any rank, from ``timings.jsonl``. *imports*: a rank that has
only imported torch and MPI. One option is changed at a time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from measure import head, start

BARE = (
    "import resource, torch\nfrom mpi4py import MPI\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
)
BASE = {"agents": 9, "topology": "ring", "copies": 64, "horizon": 128, "samples": 100, "estimator": "stratified"}
CHANGES: list[dict[str, object]] = [
    {},
    {"copies": 128},
    {"copies": 256},
    {"horizon": 256},
    {"horizon": 512},
    {"samples": 16},
    {"samples": 250},
    {"topology": "empty"},
    {"topology": "grid"},
    {"topology": "complete"},
    {"share": "outputs"},
]


def peak(ranks: int, options: dict[str, object]) -> float:
    """MiB of the largest rank."""
    fixed = {"rounds": 2, "evaluate-episodes": 0, "display": "none"}
    with tempfile.TemporaryDirectory() as folder:
        arguments = [part for name, value in (options | fixed).items() for part in (f"--{name}", str(value))]
        start(ranks, "-m", "perla_net.run", *arguments, "--out", f"{folder}/run").communicate(timeout=900)
        rows = Path(folder, "run", "timings.jsonl").read_text().splitlines()
    return json.loads(rows[-1])["peak_mib"]


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--ranks", type=int, default=9)
    given = reader.parse_args()
    print(head(f"peak resident memory of a rank, MiB; {BASE['agents']} agents on {given.ranks} ranks"))
    process = start(given.ranks, "-c", BARE)
    imports = max(float(line) for line in process.communicate(timeout=600)[0].split())
    print(f"imports alone: {imports:.0f}")
    base = None
    for change in CHANGES:
        found = peak(given.ranks, BASE | change)
        base = base or found
        said = ", ".join(f"{name} {value}" for name, value in change.items()) or ", ".join(
            f"{name} {value}" for name, value in BASE.items()
        )
        print(f"{found:>7.0f}  {found - base:>+6.0f}  {said}", flush=True)


if __name__ == "__main__":
    main()
