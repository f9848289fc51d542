"""All that came out, agent by agent, as data: what the tables, the picture and ``--json`` are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from ..world.spec import AgentSpec
from .prediction import (
    ENOUGH,
    LEVEL,
    LITTLE,
    REACH,
    Estimate,
    Influence,
    additive,
    estimate,
    predicted,
    unknowns,
)

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
    """One agent. unknown: p_c of those whom it hears, and of those whom it must; additive: of an additive
    critic; gain: predicted for each; conditions: C1 to C4, and whether 95 % of the bootstrap samples say the same."""

    agent: int
    name: str
    heard: list[int]
    needed: list[int]
    covered: Estimate
    unknown: int
    unknown_needed: int
    additive: int
    heads: bool
    gain: float
    gain_needed: float
    conditions: dict[str, tuple[bool, bool]]

    @property
    def shows(self) -> bool:
        """Whether hearing should show in learning: all four conditions hold."""
        return all(held for held, _ in self.conditions.values())


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
    sample = over.resampled
    rows, left = [], np.zeros(2)
    for index, agent in enumerate(agents):
        parts = sample.own[:, index], sample.others[:, index], sample.chance[:, index]
        own, others, chance = (np.maximum(part, 0) for part in parts)
        heard, needed = list(question.heard[index]), over.needed(index)
        covered, covered_needed = over.covered(index, heard), over.covered(index, needed)
        (unknown, heads), (unknown_needed, _) = (
            unknowns(agents, index, those, contexts[index]) for those in (heard, needed)
        )
        first = tuple(part[0] for part in parts)
        gain = float(predicted(*first, covered[0], unknown, question.samples))
        gain_needed = float(predicted(*first, covered_needed[0], unknown_needed, question.samples))
        enough = question.samples >= ENOUGH * unknown
        conditions = {
            "C1": _held(others > own),
            "C2": _held(chance <= LITTLE * others),
            "C3": (enough, True),
            "C4": _held(covered >= REACH - 1e-9),
        }
        told = estimate(covered)
        rows.append(
            Row(
                index,
                agent.name,
                heard,
                needed,
                told,
                unknown,
                unknown_needed,
                additive(agents, index, heard, contexts[index]),
                heads,
                gain,
                gain_needed,
                conditions,
            )
        )
        whole = float((own + others + chance)[0])
        left += [0.0 if math.isinf(one) else whole / one for one in (gain, gain_needed)]
    everything = float(sum(np.maximum(part[0], 0).sum() for part in (sample.own, sample.others, sample.chance)))
    team = [everything / part if part > 0 else (math.inf if everything > 0 else 1.0) for part in left]
    return Findings(agents, once, over, question, rows, *team)


def _held(samples: np.ndarray) -> tuple[bool, bool]:
    """(what the sample itself says, whether nearly all bootstrap samples do)."""
    return bool(samples[0]), bool((samples[1:] == samples[0]).mean() >= LEVEL)


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
                "covered": [float(part) for part in (row.covered.value, row.covered.low, row.covered.high)],
                "laid_to_somebody": over.known(row.agent),
                "p_c": row.unknown,
                "p_c_must_hear": row.unknown_needed,
                "p_c_additive": row.additive,
                "heads": row.heads,
                "gain": _finite(row.gain),
                "gain_must_hear": _finite(row.gain_needed),
                "conditions": {name: held for name, (held, _) in row.conditions.items()},
                "conditions_sure": {name: sure for name, (_, sure) in row.conditions.items()},
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
