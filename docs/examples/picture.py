"""The README's picture, from the study in ``who_hears_whom.yaml``: what the agents of three teams (of each setting the seed in the
middle) do in the end, and how all teams learned.

python docs/examples/picture.py studies/who_hears_whom -o picture.png        # needs the extra plot
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import networkx as nx
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from scipy import stats

import perla_net
from perla_net.records.run_folder import Run, open_study, traffic_of

CHOICES = ("#0072b2", "#e69f00", "#999999")  # Okabe and Ito's, told apart by everybody
PAID = ("1.2", "1.1", "1")
TEAMS = ("nobody", "both neighbours", "everybody")
CURVES = {"both neighbours": "#0072b2", "everybody": "#009e73", "one neighbour": "#cc79a7", "nobody": "#555555"}


def choice(folder: Path, agent: str) -> int:
    """What the agent that a run has trained does, greedily."""
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name))
    return int(perla_net.load_agent(newest / agent).act(np.ones(1, np.float32)))


def draw_team(axes: plt.Axes, run: Run, title: str) -> None:
    """Agents on their ring, coloured by what they do; who told whom, as wide as many bytes went over the edge in a round."""
    ring = nx.cycle_graph(len(run.agents))
    where = nx.circular_layout(ring)
    done = [choice(run.folder, agent) for agent in run.agents]
    sent = traffic_of(run.folder, run.agents)
    if sent.edges:
        a_round = np.bincount(sent.pairs, sent.bytes, len(sent.edges)) / len(run.training)
        told = nx.Graph(sent.edges)
        nx.draw_networkx_edges(told, where, ax=axes, width=a_round.mean() / 7000, edge_color="#7fa8c9")
        text = f"{a_round.sum() / len(run.agents) / 1000:.0f} kB an agent and round"
    else:
        text = "nothing is sent"
    for a, b in ring.edges:
        if done[a] != done[b]:
            axes.plot(
                *1.13 * np.mean([where[a], where[b]], axis=0), "x", color="#d55e00", markersize=6, markeredgewidth=2
            )
    nx.draw_networkx_nodes(
        ring, where, ax=axes, node_size=70, node_color=[CHOICES[k] for k in done], edgecolors="white"
    )
    agree = sum(done[a] == done[b] for a, b in ring.edges)
    axes.set_title(title, fontsize=10, fontweight="bold", pad=2)
    axes.text(0, -1.33, f"{agree} of {ring.size()} pairs agree", ha="center", va="center", fontsize=10)
    axes.text(0, -1.52, text, ha="center", va="center", fontsize=9, color="#444444")
    axes.set(aspect="equal", xlim=(-1.2, 1.2), ylim=(-1.6, 1.2))
    axes.axis("off")


def median(runs: list[Run], hears: str) -> Run:
    """Of the runs of a setting the one in the middle, by what it earned in the last round."""
    of_setting = sorted(
        (run for run in runs if run.settings["hears"] == hears), key=lambda run: run.training.values[-1]
    )
    return of_setting[len(of_setting) // 2]


def draw_curves(axes: plt.Axes, runs: list[Run]) -> None:
    """Reward of an agent and step, mean over seeds and 95 % interval (Student's t)."""
    for hears, colour in CURVES.items():
        curves = np.array([run.training.values for run in runs if run.settings["hears"] == hears])
        rounds = np.arange(1, curves.shape[1] + 1)
        mean = curves.mean(axis=0) / len(runs[0].agents)
        half = stats.t.ppf(0.975, len(curves) - 1) * curves.std(axis=0, ddof=1) / np.sqrt(len(curves))
        half /= len(runs[0].agents)
        axes.plot(rounds, mean, color=colour, linewidth=2)
        axes.fill_between(rounds, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)
    axes.axhline(1.2, color="#999999", linewidth=0.8, linestyle="--")
    axes.text(1, 1.21, "everybody agrees on the best", fontsize=8, color="#666666", va="bottom")
    handles = [Line2D([], [], color=colour, linewidth=2, label=hears) for hears, colour in CURVES.items()]
    axes.legend(handles=handles, title="each hears", fontsize=9, title_fontsize=9, frameon=False, loc="lower right")
    axes.set(xlabel="round (64 samples of an agent)", ylabel="reward of an agent and step", xlim=(1, None))
    axes.set_title(f"{len(curves)} seeds, mean and 95 % interval", fontsize=10, fontweight="bold", pad=2)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """See the head of the file."""
    reader = argparse.ArgumentParser(description="Draw the README's picture.")
    reader.add_argument("study", type=Path)
    reader.add_argument("-o", "--out", type=Path, default=Path("picture.png"))
    given = reader.parse_args()
    runs = [run for run in open_study(given.study)[1] if run.done]
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.8), width_ratios=[1, 1, 1, 1.5], layout="constrained")
    for axis, hears in zip(axes, TEAMS):
        draw_team(axis, median(runs, hears), f"hears {hears}")
    draw_curves(axes[-1], runs)
    paid = [Line2D([], [], marker="o", linestyle="", color=c, label=f"both paid {p}") for c, p in zip(CHOICES, PAID)]
    paid.append(
        Line2D(
            [], [], marker="x", linestyle="", color="#d55e00", markeredgewidth=2, label="a pair that is paid nothing"
        )
    )
    figure.legend(handles=paid, fontsize=9, frameon=False, ncols=4, loc="outside lower left")
    figure.savefig(given.out, dpi=150)


if __name__ == "__main__":
    main()
