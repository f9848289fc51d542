"""Where the time of a round goes: torch.profiler's top ten operations of one round in one process.

    python benchmarks/profile_round.py [-- OPTIONS OF perla_net.run]

16 agents, the default job. Run it in a checkout of an older commit (with PYTHONPATH set to that) to compare.
"""

from __future__ import annotations

import sys
import time

from measure import head
from torch.profiler import ProfilerActivity, profile

from perla_net.ground.processes import Processes
from perla_net.settings.command_line import command_line
from perla_net.simulation.prepare import prepare
from perla_net.simulation.simulation import Simulation


def main() -> None:
    options = [option for option in sys.argv[1:] if option != "--"]
    simulation = Simulation(prepare(command_line(["--agents", "16", *options])), Processes())
    simulation.start()
    simulation.round()
    began = time.perf_counter()
    simulation.round()
    print(head(f"profile of a round, one process; without the profiler {time.perf_counter() - began:.2f} s"))
    with profile(activities=[ProfilerActivity.CPU]) as found:
        simulation.round()
    rows = sorted(found.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    print(f"torch operations together {total / 1e6:.2f} s, {sum(row.count for row in rows):,} calls")
    for row in rows[:10]:
        print(
            f"{row.self_cpu_time_total / 1e6:>8.3f} s {row.self_cpu_time_total / total:>6.1%} {row.count:>8,} {row.key}"
        )


if __name__ == "__main__":
    main()
