"""What communication would take on a real network: the ledger's bytes turned into seconds.

A link has a latency (seconds on the way) and a bandwidth (bytes per second); an agent's interface sends its packets one after
the other, and all agents send at the same time. A round has one phase of communication or several, one after the other: the
exchange, once per hop; each averaging; each mean over the team. The ledger does not tell phases apart; bytes spread over them:

    T = max over agents i of [ Σ_j bytes_ij / bandwidth_ij + phases · max_j latency_ij ].

On a shared medium (``wifi``, ``radio``, ``lora``) only one agent sends at a time, so that the sum over agents takes the place
of the maximum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Mapping

from ..settings.config import Cost

Row = tuple[int, int, int]
"""(source, target, bytes) of a round."""


@dataclass(frozen=True)
class Medium:
    """A kind of link: seconds, bytes per second, and whether all agents share one channel."""

    latency: float
    bandwidth: float
    shared: bool


MEDIA = {
    # Orders of magnitude of usual equipment, to compare topologies by; give --cost.latency and --cost.bandwidth for yours.
    "cluster": Medium(2e-6, 12.5e9, False),  # 100 Gbit/s InfiniBand
    "ethernet": Medium(50e-6, 125e6, False),  # 1 Gbit/s switched
    "wifi": Medium(2e-3, 6e6, True),  # about 50 Mbit/s of payload on a channel
    "radio": Medium(20e-3, 31_250, True),  # 250 kbit/s, IEEE 802.15.4
    "lora": Medium(0.5, 625, True),  # 5 kbit/s, LoRa at spreading factor 7
    "wan": Medium(40e-3, 2.5e6, False),  # 20 Mbit/s between sites
    "satellite": Medium(0.3, 1.25e6, False),  # geostationary, 10 Mbit/s
}


def medium_of(options: Cost) -> Medium | None:
    """The medium that the options mean; None without a cost model."""
    if options.preset == "none" and options.latency is None and options.bandwidth is None:
        return None
    base = MEDIA["ethernet" if options.preset == "none" else options.preset]
    return Medium(
        base.latency if options.latency is None else options.latency,
        base.bandwidth if options.bandwidth is None else options.bandwidth,
        base.shared,
    )


def seconds(
    rows: Iterable[Row], medium: Medium, links: Mapping[tuple[int, int], Mapping[str, float]], phases: int = 1
) -> float:
    """Simulated seconds of a round's communication; ``links``: (source, target) → latency, bandwidth of that link."""
    busy: dict[int, float] = {}
    slowest: dict[int, float] = {}
    for source, target, size in rows:
        own = links.get((source, target), {})
        busy[source] = busy.get(source, 0.0) + size / own.get("bandwidth", medium.bandwidth)
        slowest[source] = max(slowest.get(source, 0.0), own.get("latency", medium.latency))
    if not busy:
        return 0.0
    if medium.shared:
        return sum(busy.values()) + phases * max(slowest.values())
    return max(busy[source] + phases * slowest[source] for source in busy)
