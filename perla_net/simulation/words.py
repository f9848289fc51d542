"""What a run's first line says of its methods."""

from __future__ import annotations

from ..learning.distributions import distribution_of
from ..learning.embedding import choose_estimator, joint_actions
from ..methods.presets import PRESETS, reads_mean
from ..methods.team import Team
from .plan import Plan


def who_learns(plan: Plan, team: Team) -> str:
    """How the agents act and learn, and how they embed the most that one hears in a round, with the counts behind the choice."""
    kinds: dict[str, int] = {}
    for agent, entry in enumerate(team.settings):
        embeds = entry.algorithm in PRESETS
        text = _estimator(plan, team, agent) if embeds else team.methods[agent].first_words(team, agent)
        if entry.algorithm != plan.config.algorithm:
            text = f"{entry.algorithm}, {text}" if text else entry.algorithm
        if plan.config.agents.groups and team.group_of(agent):
            text += f", one network for {len(team.group_of(agent))}"
        kinds[text] = kinds.get(text, 0) + 1
    listed = [f"{number} agent{'s' * (number > 1)}" + f": {text}" * bool(text) for text, number in kinds.items()]
    return f"{plan.config.algorithm}: {'; '.join(listed)}"


def _estimator(plan: Plan, team: Team, agent: int) -> str:
    settings, known = team.settings[agent], set(team.embedded_by(agent))
    heard = max(plan.schedule.heard_together(agent, plan.config.links.hops), key=len, default=[])
    if reads_mean(settings):
        return f"mean action of {len(heard)}"
    embedded = [distribution_of(team.specs[other].action) for other in heard if other in known]
    if not embedded:
        return "no embedding"
    estimator = choose_estimator(settings.estimator, settings.exact_limit, settings.samples, embedded)
    count = joint_actions(embedded)
    work = (
        f"{count} joint actions" if estimator == "exact" else f"{settings.samples} samples of {count or 'continuous'}"
    )
    form = PRESETS[settings.algorithm].form or settings.form
    return f"{form} form, {estimator} ({work}{'' if plan.schedule.fixed else ' at most'})"
