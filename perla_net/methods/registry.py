"""Methods by name; files and torch are loaded only when a method is used.

A method is a class of :class:`~perla_net.methods.protocol.Method` in a file of its family here, or anybody's in any module that Python
finds (``--algorithm MODULE.CLASS``, the present folder included).
"""

from __future__ import annotations

import difflib
import importlib
import sys
from functools import lru_cache
from typing import Any

from ..ground.errors import InputError
from ..settings import sections as of_settings
from .presets import PRESETS

ANYWHERE = "actor_critic.ActorCritic"
"""Of the actor-critics that are for every task, whatever others do."""
METHODS = {
    **dict.fromkeys(
        (
            "ippo",
            "ia2c",
            "mappo",
            "perla_ippo",
            "perla_ia2c",
            "perla_mappo",
            "ps_ippo",
            "ps_mappo",
            "mean_field_ac",
            "consensus",
        ),
        ANYWHERE,
    ),
    "happo": "happo.HAPPO",
    "coma": "coma.COMA",
    "perla_coma": "coma.PerlaCOMA",
    "iql": "value_based.IQL",
    "vdn": "value_based.VDN",
    "qmix": "factorisations.QMIX",
    "qplex": "factorisations.QPLEX",
    "qtran_base": "factorisations.QTRAN",
    "qtran_alt": "factorisations.QTRANAlternative",
    "cw_qmix": "factorisations.CWQMIX",
    "ow_qmix": "factorisations.OWQMIX",
    "mean_field_q": "mean_field.MeanFieldQ",
    "perla_iql": "embedded_q.PerlaIQL",
    "perla_vdn": "embedded_q.PerlaVDN",
    "maddpg": "maddpg.MADDPG",
    "perla_maddpg": "embedded_maddpg.PerlaMADDPG",
    "lola": "lola.LOLA",
    "hola": "hola.HOLA",
    "cola": "hola.COLA",
    "liam": "liam.LIAM",
    "commnet": "talking.CommNet",
    "ic3net": "talking.IC3Net",
    "dial": "talking.DIAL",
    "neurcomm": "talking.NeurComm",
    "tarmac": "talking.TarMAC",
    "perla_commnet": "talking.PerlaCommNet",
    "perla_ic3net": "talking.PerlaIC3Net",
    "perla_dial": "talking.PerlaDIAL",
    "perla_neurcomm": "talking.PerlaNeurComm",
    "perla_tarmac": "talking.PerlaTarMAC",
    "fingerprint": "talking.Fingerprint",
    "perla_fingerprint": "talking.PerlaFingerprint",
    "consensus_reward": "consensus_reward.ConsensusReward",
    "kappa_hop": "kappa_hop.KappaHop",
    "adopt": "adopt.Adopt",
    "frozen": "frozen.Frozen",
    "controller": "controller.Controller",
}
"""Name → file and class, in the order in which they are listed."""
assert set(PRESETS) <= set(METHODS)
SECTIONS = {
    *("coma", "perla_coma"),
    *("iql", "vdn", "mean_field_q", "perla_iql", "perla_vdn"),
    *("qmix", "qplex", "qtran_base", "qtran_alt", "cw_qmix", "ow_qmix"),
    *("maddpg", "perla_maddpg"),
    *("lola", "hola", "cola", "liam"),
    *(
        "commnet",
        "dial",
        "tarmac",
        "perla_commnet",
        "perla_dial",
        "perla_tarmac",
        "adopt",
        "consensus_reward",
        "kappa_hop",
    ),
}
"""Methods with options of their own; the actor-critics' are the groups that every agent has (``ppo``, ``returns`` …), beside or without."""
WITH_ARGUMENT = {"frozen": "frozen:RUN_OR_AGENT_PATH", "controller": "controller:NAME"}


def split(algorithm: str) -> tuple[str, str]:
    """(name, argument): ``frozen:runs/a`` → (``frozen``, ``runs/a``); the argument is empty for all others."""
    name, _, argument = algorithm.partition(":")
    return (name, argument) if name in WITH_ARGUMENT else (algorithm, "")


def check(algorithm: str, option: str) -> None:
    """Raises InputError naming ``option`` where there is no such method."""
    name, argument = split(algorithm)
    if name in WITH_ARGUMENT and not argument:
        raise InputError(f"{option} {algorithm!r}: write {WITH_ARGUMENT[name]}")
    if name not in METHODS:
        _outside(algorithm, option)


def has_conditions(algorithm: str) -> bool:
    """Whether a method is not for every task, or not in every team, so that its class is to be asked."""
    return METHODS.get(algorithm) != ANYWHERE


def sections() -> set[str]:
    """Names of the sections that methods declare."""
    return SECTIONS


def from_outside(algorithm: str) -> bool:
    """Whether a method is a class of the user's own."""
    return split(algorithm)[0] not in METHODS


def section_of(algorithm: str) -> str:
    """The section that a method reads, or nothing."""
    name, _ = split(algorithm)
    return of_settings.OUTSIDE if from_outside(algorithm) else name if name in SECTIONS else ""


def options(algorithm: str, option: str) -> type | None:
    """The dataclass that declares a method's options. Raises InputError naming ``option``."""
    return class_of(algorithm, option).Options if section_of(algorithm) else None


def class_of(algorithm: str, option: str = "algorithm") -> Any:
    """The class of a method, a kind of :class:`~.protocol.Method`. Raises InputError naming ``option``."""
    if from_outside(algorithm):
        return _outside(algorithm, option)
    name, _ = split(algorithm)
    module, _, kind = METHODS[name].rpartition(".")
    return getattr(importlib.import_module(f".{module}", __package__), kind)


@lru_cache(maxsize=256)
def _outside(algorithm: str, option: str) -> Any:
    """A class of the user's own."""
    module, _, kind = algorithm.rpartition(".")
    if not module or module.startswith(".") or not all(part.isidentifier() for part in algorithm.split(".")):
        close = difflib.get_close_matches(algorithm, METHODS, 1)
        raise InputError(
            f"{option} {algorithm!r}: it should be {', '.join(repr(WITH_ARGUMENT.get(name, name)) for name in METHODS)}, or MODULE.CLASS of your own"
            + (f"; did you mean {close[0]!r}?" if close else "")
        )
    from .protocol import Method

    if "" not in sys.path:  # where Python was started as a program: the present folder counts, as with python -m
        sys.path.append("")
    try:
        found = getattr(importlib.import_module(module), kind, None)
    except (Exception, SystemExit) as error:  # the user's module may do anything
        raise InputError(
            f"{option} {algorithm}: cannot be imported ({type(error).__name__}: {' '.join(str(error).split())}); it is looked for in the present folder "
            "and on PYTHONPATH"
        ) from None
    if found is None:
        raise InputError(f"{option} {algorithm}: {module} has no {kind}")
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise InputError(
            f"{option} {algorithm}: is no method: it should be a class of perla_net.methods.acting.Acting, or of protocol.Method there"
        )
    found.check_class(f"{option} {algorithm}")
    return found


def announce() -> None:
    """Let the settings know the methods."""
    of_settings.register(sys.modules[__name__])
