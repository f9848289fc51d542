"""What methods say of themselves: the table of all, and one with its options; the docs are made from the same."""

from __future__ import annotations

from typing import Any, Sequence

from ..ground.errors import InputError
from ..ground.text import wrapped
from ..settings.checking import flag, flat, type_name
from .presets import PRESETS
from .protocol import Facts
from .registry import ANYWHERE, METHODS, WITH_ARGUMENT, class_of, section_of

HEAD = ("method", "family", "policy", "actions", "hears", "sends", "learns from", "source", "status")
KINDS = {
    "discrete": "discrete",
    "multi_discrete": "multi-discrete",
    "continuous": "continuous",
    "mixed": "mixed",
}


def facts_of(name: str) -> Facts:
    """A method's facts; of a preset, its own."""
    if METHODS.get(name) == ANYWHERE:
        from .actor_critic import facts_of as of_preset

        return of_preset(name)
    return class_of(name).facts


def row(name: str) -> tuple[str, ...]:
    """A method's line in the table."""
    facts = facts_of(name)
    kinds = "all" if len(facts.actions) == len(KINDS) else ", ".join(KINDS[kind] for kind in facts.actions)
    called = WITH_ARGUMENT.get(name, name)
    return (
        *(called, facts.family, f"{facts.policy}-policy" if facts.policy != "-" else "-", kinds),
        *(facts.hears, facts.sends, facts.needs, facts.source, facts.status),
    )


def table() -> str:
    """All methods, for a terminal: a few lines each."""
    lines = []
    for name in METHODS:
        cells = dict(zip(HEAD, row(name)))
        lines.append(f"{cells['method']}  ({cells['family']}, {cells['policy']}, actions: {cells['actions']})")
        for part in (
            facts_of(name).summary,
            f"hears {cells['hears']}; sends {cells['sends']}",
            f"learns from {cells['learns from']}",
            f"{cells['source']} · {cells['status']}",
        ):
            lines += wrapped(part, "    ", "      ")
    lines += ["", "`python -m perla_net.methods NAME` describes one with all its options; MODULE.CLASS one of your own"]
    return "\n".join(lines)


def markdown() -> str:
    """The same as two tables for the documentation, which has no room for one."""
    return "\n\n".join(_table(columns) for columns in ((0, 1, 2, 3, 4, 5), (0, 6, 7, 8)))


def _table(columns: Sequence[int]) -> str:
    rows = [HEAD, ["---"] * len(HEAD), *(row(name) for name in METHODS)]
    return "\n".join("| " + " | ".join(cells[k].replace("|", "\\|") for k in columns) + " |" for cells in rows)


def details(name: str) -> str:
    """One method with all its options. Raises InputError where there is none of that name."""
    kind, argument = (name, "") if name in METHODS else (name.partition(":")[0], name.partition(":")[2])
    if kind not in METHODS or (argument and kind not in WITH_ARGUMENT):
        kind = name
    facts = facts_of(kind) if kind in METHODS else class_of(kind, "method").facts
    cells = (
        row(kind) if kind in METHODS else (kind, facts.family, facts.policy, ", ".join(facts.actions), *_rest(facts))
    )
    lines = [f"{cells[0]}: {facts.summary}"]
    for head, cell in zip(HEAD[1:], cells[1:]):
        lines += wrapped(f"{head + ':':<13}{cell}", "  ", " " * 15)
    lines.append("  options:")
    found = options_of(kind)
    for option, hint, default, sentence in found:
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        lines += [f"    {option} ({type_name(hint)}; default {'none' if shown is None else shown})"]
        lines += wrapped(sentence, "        ", "        ")
    if not found:
        lines.append("    none of its own")
    return "\n".join(lines)


def _rest(facts: Facts) -> tuple[str, ...]:
    return facts.hears, facts.sends, facts.needs, facts.source, facts.status


def options_of(name: str) -> list[tuple[str, Any, Any, str]]:
    """(flag, type, default, sentence) of what a method reads."""
    from ..settings.config import AgentSettings

    if name in WITH_ARGUMENT:
        return []
    section, kind = section_of(name), class_of(name).Options
    rows = flat(kind, f"{section}.") if kind else []
    if name in PRESETS:
        unused = "a2c" if PRESETS[name].base == "ppo" else "ppo"
        left_out = ("algorithm", *PRESETS[name].fixed)
        rows += [
            entry for entry in flat(AgentSettings) if entry[0] not in left_out and not entry[0].startswith(f"{unused}.")
        ]
    else:
        common = ("model.policy", "model.encoder", "model.channels", "model.orthogonal", "returns.gamma", "reward.")
        common = (*common, "share", "identity", *class_of(name).uses)
        of_critic = tuple(begin for begin in common if "critic" in begin)
        shared = [entry for entry in flat(AgentSettings) if entry[0].startswith(common)]
        rows += [entry for entry in shared if "critic" not in entry[0] or entry[0].startswith(of_critic)]
    return [(flag(key), *rest) for key, *rest in rows]


def describe(names: Sequence[str]) -> str:
    """The table, or the methods of these names one after the other. Raises InputError."""
    if not names:
        return table()
    for name in names:
        if name not in METHODS and "." not in name and name.partition(":")[0] not in WITH_ARGUMENT:
            raise InputError(f"method {name!r}: there is none; `python -m perla_net.methods` lists them")
    return "\n\n".join(details(name) for name in names)
