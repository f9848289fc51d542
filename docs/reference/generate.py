"""Writes the pages here that are made of the program itself: ``options.md`` and ``environments.md``.

python docs/reference/generate.py            # needs every suite: pip install -c constraints.txt ".[test,momaland]"
"""

from __future__ import annotations

from pathlib import Path

from perla_net.settings.checking import flag, flat, type_name
from perla_net.settings.config import AgentSettings, Config
from perla_net.world.catalogue import HEAD, names_of, row
from perla_net.world.environments import SUITES

HERE = Path(__file__).parent


def table(head: list[str], rows: list[list[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def shown(default: object) -> str:
    """A default as one would type it."""
    if default is None or default in ("", (), {}, []):
        return "–"
    if isinstance(default, (tuple, list)):
        return "`" + ",".join(map(str, default)) + "`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def options() -> str:
    """Every option by group; ``*``: each agent may have its own."""
    own = {name for name, *_ in flat(AgentSettings)}
    groups: dict[str, list[list[str]]] = {}
    for name, hint, default, sentence in flat(Config):
        group = name.rpartition(".")[0] or ("an agent" if name in own else "the run")
        cell = f"`{flag(name)}`" + (" *" if name in own else "")
        groups.setdefault(group, []).append([cell, type_name(hint), shown(default), sentence])
    text = [
        "# All options",
        "Of `python -m perla_net.run`, in YAML by the same names (`ppo.epochs: 4`, or nested), in Python as arguments of `perla_net.Config`. "
        "With a star: each agent may have its own ([Teams that differ](../heterogeneous.md)). The options of single methods "
        "(`--qmix.batch`) are listed by `python -m perla_net.methods qmix`. Made by `docs/reference/generate.py` from `perla_net/settings/config.py`.",
    ]
    for group, rows in groups.items():
        text += [f"## {group}", table(["option", "type", "default", "what it does"], rows)]
    return "\n\n".join(text) + "\n"


def of_suite(suite: str) -> str:
    """A suite's names that are worth a start, each made to find out."""
    facts = SUITES[suite]
    extra = f' `pip install -c constraints.txt ".[{facts.extra}]"`' if facts.extra else ""
    about = f"{facts.about[0].upper()}{facts.about[1:]} (licence: {facts.licence}).{extra}"
    return f"## {suite}\n\n{about}\n\n{table(HEAD, [row(env) for env in names_of(suite, facts.names)])}"


def environments() -> str:
    """All suites."""
    head = (
        "# All environments\n\nWhat `python -m perla_net.environments` lists; `python -m perla_net.environments spread` describes one, agent by "
        "agent. What each of them is: [Environments](../environments.md). Made by `docs/reference/generate.py`."
    )
    return "\n\n".join([head, *map(of_suite, SUITES)]) + "\n"


PAGES = {"options.md": options, "environments.md": environments}


if __name__ == "__main__":
    for name, make in PAGES.items():
        (HERE / name).write_text(make(), encoding="utf-8")
