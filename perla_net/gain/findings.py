"""All that came out, agent by agent, as data: what the tables, the picture and ``--json`` are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from ..world.spec import AgentSpec
from .prediction import ENOUGH, LITTLE, REACH, Influence, predicted, unknowns

FORMAT = "perla_net.gain 1"
"""What ``--json`` says it is; ``influence:file=…`` looks for it."""


@dataclass(frozen=True)
class Question:
    """What was asked: who hears whom (per agent), the graph's name, samples that a critic is fitted on."""

    topology: str
    heard: tuple[tuple[int, ...], ...]
    samples: int


@dataclass(frozen=True)
class Row:
    """One agent. p: of whom it hears, and of whom it must hear; gain: predicted for each; conditions: C1 to C4."""

    agent: int
    name: str
    heard: list[int]
    needed: list[int]
    covered: float
    unknown: int
    unknown_needed: int
    heads: bool
    gain: float
    gain_needed: float
    conditions: dict[str, bool]

    @property
    def shows(self) -> bool:
        """Whether hearing should show in learning: all four conditions hold."""
        return all(self.conditions.values())


@dataclass(frozen=True)
class Findings:
    """Influence at once and over the horizon, and what follows for each agent."""

    agents: tuple[AgentSpec, ...]
    once: Influence
    over: Influence
    question: Question
    rows: list[Row]
    team_gain: float
    team_gain_needed: float


def conclude(
    agents: tuple[AgentSpec, ...], once: Influence, over: Influence, contexts: Sequence[int], question: Question
) -> Findings:
    """What the variances say of each agent. contexts: numbers of each agent's observation that are not always the same."""
    own, others, chance = (np.maximum(part.value, 0) for part in (over.own, over.others, over.chance))
    rows, left = [], np.zeros(2)
    for index, agent in enumerate(agents):
        heard, needed = list(question.heard[index]), over.needed(index)
        found = []
        for those in (heard, needed):
            covered = over.covered(index, those)
            unknown, heads = unknowns(agents, index, those, contexts[index])
            gain = float(predicted(own[index], others[index], chance[index], covered, unknown, question.samples))
            found.append((covered, unknown, gain))
        (covered, unknown, gain), (_, unknown_needed, gain_needed) = found
        conditions = {
            "C1": bool(others[index] > own[index]),
            "C2": bool(chance[index] <= LITTLE * others[index]),
            "C3": question.samples >= ENOUGH * unknown,
            "C4": covered >= REACH - 1e-9,
        }
        row = Row(
            index, agent.name, heard, needed, covered, unknown, unknown_needed, heads, gain, gain_needed, conditions
        )
        rows.append(row)
        whole = own[index] + others[index] + chance[index]
        left += [whole / gain if gain > 0 else 0.0 for gain in (gain, gain_needed)]
    everything = float((own + others + chance).sum())
    team = [everything / part if part > 0 else (math.inf if everything > 0 else 1.0) for part in left]
    return Findings(agents, once, over, question, rows, *team)


def data_of(findings: Findings, facts: dict[str, Any]) -> dict[str, Any]:
    """As JSON data; ``facts``: arguments and what else was asked. Infinite ratios are null."""
    once, over = findings.once, findings.over
    return {
        "format": FORMAT,
        **facts,
        "topology": findings.question.topology,
        "samples": findings.question.samples,
        "names": [agent.name for agent in findings.agents],
        "agents": [
            {
                "name": row.name,
                "states": int(over.states[row.agent]),
                **{name: _triple(getattr(over, name), row.agent) for name in ("own", "others", "chance")},
                "own_at_once": _triple(once.own, row.agent),
                "others_at_once": _triple(once.others, row.agent),
                "chance_at_once": _triple(once.chance, row.agent),
                "R": _triple(over.ceiling, row.agent),
                "R_action": _triple(over.action_ceiling, row.agent),
                "R_at_once": _triple(once.ceiling, row.agent),
                "heard": row.heard,
                "must_hear": row.needed,
                "covered": row.covered,
                "p_c": row.unknown,
                "p_c_must_hear": row.unknown_needed,
                "heads": row.heads,
                "gain": _finite(row.gain),
                "gain_must_hear": _finite(row.gain_needed),
                "conditions": row.conditions,
                "shows": row.shows,
            }
            for row in findings.rows
        ],
        "team": {
            "R": _triple(over.team, ...),
            "R_at_once": _triple(once.team, ...),
            "gain": _finite(findings.team_gain),
            "gain_must_hear": _finite(findings.team_gain_needed),
        },
        "at_once": _matrices(once),
        "over_horizon": _matrices(over),
    }


def _matrices(found: Influence) -> dict[str, Any]:
    """Row i, column j: of j's action on i. shares: T_ij / Σ_k T_ik; of_others: T_ij / V_oth(i)."""
    return {
        "shares": _table(found.among),
        "reliable": found.reliably.tolist(),
        "total": _table(found.total.value),
        "of_others": _table(found.share.value),
        "of_others_low": _table(found.share.low),
        "of_others_high": _table(found.share.high),
    }


def _triple(estimate: Any, place: Any) -> list[float | None]:
    """[value, low, high]."""
    return [_finite(float(np.asarray(part)[place])) for part in (estimate.value, estimate.low, estimate.high)]


def _table(matrix: np.ndarray) -> list[list[float | None]]:
    return [[_finite(float(value)) for value in row] for row in matrix]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
