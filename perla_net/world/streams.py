"""What a process has only one of: the global random streams of ``random``, numpy and torch, and the working folder.

Many environments of others do so, whatever seed their reset is given. Around each call into a copy these streams are therefore
set to what follows from the copy's episode and step alone, so that a run repeats and its numbers depend neither on ranks nor
on other copies; outside they stay as they were. What an environment draws from elsewhere (``default_rng()`` without a seed, the
clock) is out of reach: ``rehearsal.py`` finds that out where it shows within the first steps of an episode.
"""

from __future__ import annotations

import os
import random
import sys
import types
from contextlib import contextmanager
from typing import Any, Iterator

import numpy as np

_STRIDE, _WORD = 0x9E3779B97F4A7C15, 2**64 - 1


def begin(episode: int, step: int) -> None:
    """Set the streams for one call: ``episode``, 64 bits of the copy's seed; ``step``: which call since the reset."""
    mixed = (episode + step * _STRIDE) & _WORD  # splitmix64 (Steele et al. 2014): neighbouring steps have unlike seeds
    mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & _WORD
    mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & _WORD
    mixed ^= mixed >> 31
    random.seed(mixed)
    np.random.seed(mixed & 0xFFFFFFFF)
    if generator := _of_torch():
        generator.manual_seed(mixed)


@contextmanager
def kept() -> Iterator[None]:
    """Whatever happens within, the streams go on afterwards as if nothing had been drawn, and the working folder is what it was."""
    before = state()
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # it was removed
        folder = ""
    try:
        yield
    finally:
        if folder:
            os.chdir(folder)
        random.setstate(before[0])
        np.random.set_state(before[1])
        if len(before) > 2:
            _of_torch().set_state(before[2])


def state() -> tuple[Any, ...]:
    """Where the streams are."""
    found = random.getstate(), np.random.get_state()
    generator = _of_torch()
    return (*found, generator.get_state()) if generator else found


def _of_torch() -> Any:
    """torch's stream, where torch has been loaded."""
    return getattr(sys.modules.get("torch"), "default_generator", None)


def reseed(holder: Any, seed: np.random.SeedSequence, most: int = 10_000) -> int:
    """Let every generator (numpy's, or Python's) that an object holds, or that something in it holds, go on from ``seed``; how many these were.

    They are changed in place, so that whoever shares one keeps sharing it, and found in the order of attributes, which is the same in equal
    objects. ``most``: objects that are looked into.
    """
    found: list[Any] = []
    seen, waiting = {id(holder)}, [holder]
    for place in range(most):
        if place >= len(waiting):
            break
        here = waiting[place]
        inner = here.values() if isinstance(here, dict) else here if isinstance(here, (list, tuple)) else _held(here)
        for value in inner:
            if isinstance(value, (np.random.Generator, np.random.RandomState, random.Random)) and id(value) not in seen:
                found.append(value)
            elif isinstance(value, _PLAIN) or id(value) in seen:
                continue
            else:
                waiting.append(value)
            seen.add(id(value))
    shared = np.random.mtrand._rand  # the global stream, which is set for each call
    for generator, own in zip(found, seed.spawn(len(found))):
        if isinstance(generator, np.random.Generator):
            generator.bit_generator.state = type(generator.bit_generator)(own).state
        elif generator is not shared:
            generator.seed(
                own.generate_state(4) if isinstance(generator, np.random.RandomState) else int(own.generate_state(1)[0])
            )
    return len(found)


_PLAIN = (
    int,
    float,
    complex,
    str,
    bytes,
    bool,
    type(None),
    type,
    np.ndarray,
    np.generic,
    types.ModuleType,
    types.FunctionType,
)
"""What holds no generators, or what no environment owns."""


def _held(value: Any) -> Any:
    return getattr(value, "__dict__", {}).values()


def moved(before: tuple[Any, ...]) -> str:
    """Whose stream was drawn from since ``before``; empty where none was."""
    now = state()
    if now[0] != before[0]:
        return "Python's random"
    if now[1][2:] != before[1][2:] or not np.array_equal(now[1][1], before[1][1]):
        return "numpy.random"
    if len(before) > 2 and not bool((now[2] == before[2]).all()):
        return "torch"
    return ""
