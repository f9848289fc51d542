"""What ``python -m perla_net.run --help`` prints: a first page, a group of options, one option, or all of them.

torch is loaded only for the options of methods.
"""

from __future__ import annotations

import difflib
from typing import Any, Iterable, Sequence, get_origin, get_type_hints

from ..ground.errors import InputError
from ..ground.text import wrapped
from . import sections
from .checking import PER_AGENT, bare, flag, flat, type_name
from .config import Config

Row = tuple[str, Any, Any, str]
"""(dotted name, type, default, sentence) of an option, as :func:`~.checking.flat` gives them."""

USAGE = "usage: [mpirun -n RANKS] python -m perla_net.run [OPTIONS]"
FIRST = {
    "what learns": {
        "env": "environment; listed by python -m perla_net.environments",
        "agents": "how many [the environment's, else one per rank]",
        "algorithm": "how they learn; listed by python -m perla_net.methods",
    },
    "who tells whom what": {
        "topology": "who hears whom: ring, grid, complete, …, a graph file; auto: the environment's graph, else ring",
        "share": "what a policy is told as: weights, outputs, …",
        "links.loss": "share of packets that are lost",
        "compression.method": "how what is sent is coded: float16, int8, top_k, …",
    },
    "how long": {
        "rounds": "rounds of acting, telling and learning",
        "copies": "copies of the environment that are stepped together",
        "horizon": "steps of a round in each copy",
        "evaluate_episodes": "episodes that are played at the end",
        "seed": "of everything random",
    },
    "files": {
        "config": "options from a YAML file; the command line wins",
        "out": "the run's folder [a new one in runs/]",
        "resume": "go on with the run in this folder",
    },
}
"""The first page: what most people change, in words that do without the rest."""
BESIDE: tuple[Row, ...] = (
    ("config", str, None, "YAML file of options; the command line wins over it."),
    ("agents", int, None, "Number of agents (default: the environment's, else one per rank)."),
)
"""Options that only the command line has, or that stand elsewhere in a configuration."""
OF_RUN, OF_AGENT = "run", "agent"
"""Groups of the options without a dot: the whole run's, and those in which agents may differ."""
COLUMN = 24
"""Where the first page's sentences begin."""


def topic(arguments: Sequence[str]) -> str | None:
    """What help is asked for: the word behind ``--help``, nothing where there is none; None: no help is asked for."""
    for index, word in enumerate(arguments):
        asked, equals, value = word.partition("=")
        if asked in ("-h", "--help"):
            return value if equals else "".join(arguments[index + 1 : index + 2])
    return None


def page(about: str) -> str:
    """The help on a topic: ``""`` the first page, ``all``, a group or an option, written with or without dashes.

    Raises InputError where there is no such thing.
    """
    name = about.removeprefix("--").replace("-", "_")
    if not name:
        return _first()
    groups = _groups()
    if name == "all":
        blocks = [_block(key, title, rows) for key, (title, rows) in groups.items()]
        return "\n\n".join([USAGE, *blocks, *_of_methods()])
    if name in groups:
        return _block(name, *groups[name])
    rows = [row for _, rows in groups.values() for row in rows]
    method, dot, _ = name.partition(".")  # or any other group
    if sections.is_section(method):
        own = _section(method)
        if not dot:
            return _block(method, f"Options of {method} alone.", own)
        rows += own
    found = [row for row in rows if row[0] == name]
    if not found:
        raise InputError(_unknown(about, [*groups, *sections.methods().sections(), *(row[0] for row in rows)]))
    where = (
        "agents may differ in it" if method in PER_AGENT or sections.is_section(method) else "the same for all agents"
    )
    last = [] if name in ("config", "agents") else [f"{'':<4}In YAML and studies {name}; {where}."]
    return "\n".join([*_told(found[0]), *last])


def _groups() -> dict[str, tuple[str, list[Row]]]:
    """Name → (title, options) of every group, without those of methods."""
    kinds = get_type_hints(Config)
    found: dict[str, tuple[str, list[Row]]] = {
        OF_RUN: ("The run as a whole.", list(BESIDE)),
        OF_AGENT: ("How an agent acts and learns; agents may differ in these.", []),
    }
    for row in flat(Config):
        group, dot, _ = row[0].partition(".")
        if group == "agents":
            continue  # --agents, above; the rest is for files (docs/heterogeneous.md)
        key = group if dot else OF_AGENT if row[0] in PER_AGENT else OF_RUN
        title = (kinds[group].__doc__ or "").splitlines()[0] if dot else ""
        found.setdefault(key, (title, []))[1].append(row)
    return {key: found[key] for key in sorted(found, key=lambda key: key == OF_AGENT or key in PER_AGENT)}


def _section(method: str) -> list[Row]:
    """A method's own options. Raises InputError for the section of a method from outside, which nobody has named."""
    if method == sections.OUTSIDE:
        raise InputError(
            f"--help {method}: these are options of a method of your own; `python -m perla_net.methods MODULE.CLASS` lists them"
        )
    kind = sections.methods().options(method, "--help")
    return flat(kind, f"{method}.") if kind else []


def _of_methods() -> Iterable[str]:
    """A block for every set of options that methods declare; methods that declare the same ones share it."""
    same: dict[type | None, list[str]] = {}
    for method in sorted(sections.methods().sections()):
        same.setdefault(sections.methods().options(method, "--help"), []).append(method)
    for first, *others in same.values():
        alike = f", and likewise {', '.join(f'{flag(other)}.…' for other in others)}" if others else ""
        yield _block(first, f"Options of --algorithm {first} alone{alike}.", _section(first))


def _unknown(about: str, known: Sequence[str]) -> str:
    name = about.removeprefix("--").replace("-", "_")
    ends = [one for one in known if one.rpartition(".")[2] == name]
    close = [flag(one).removeprefix("--") for one in ends or difflib.get_close_matches(name, known, 3)]
    hint = f"did you mean {' or '.join(close)}?" if close else "`--help all` lists every option"
    return f"--help {about}: there is no such option or group of options; {hint}"


def _first() -> str:
    rows = {row[0]: row for _, rows in _groups().values() for row in rows}
    lines = [
        USAGE,
        "",
        "Train a team of networked agents; under mpirun each agent is a rank.",
        "Defaults in [brackets].",
    ]
    for title, options in FIRST.items():
        lines += ["", f"{title}:"]
        for name, sentence in options.items():
            default = rows[name][2]
            shown = sentence if default is None else f"{sentence} [{default}]"
            lines += wrapped(shown, f"  {flag(name):<{COLUMN - 2}}", " " * COLUMN)
    names = ", ".join(key for key in _groups() if key not in (OF_RUN, OF_AGENT))
    lines += ["", "more:"]
    for word, sentence in {
        "OPTION": "one option, as in --help links.loss",
        "GROUP": f"{names}; {OF_RUN}, {OF_AGENT}: those without a dot; a method's name, such as qmix: its own",
        "all": "everything",
    }.items():
        lines += wrapped(sentence, f"  {f'--help {word}':<{COLUMN - 2}}", " " * COLUMN)
    return "\n".join(lines)


def _block(name: str, title: str, rows: Sequence[Row]) -> str:
    lines = wrapped(f"{name}: {title}", rest="  ")
    return "\n".join([*lines, *(line for row in rows for line in _told(row, "  "))])


def _told(row: Row, indent: str = "") -> list[str]:
    """An option's lines."""
    name, hint, default, sentence = row
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    head = f"{indent}{flag(name)} {_metavar(hint)}"
    kind = f"[{type_name(hint)}; default {'none' if shown is None else shown}]"
    margin = f"{indent}    "
    return [head, *wrapped(f"{sentence} {kind}", margin, margin)]


def _metavar(hint: Any) -> str:
    plain, _ = bare(hint)
    if get_origin(plain) is not None and get_origin(plain) is not tuple:
        return "NAME"
    return {int: "N", float: "X", bool: "BOOL", str: "TEXT"}.get(plain, "N,N")
