"""One episode of a trained team, looked at: a film, a sheet of pictures, or the terminal."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

from ..ground.errors import InputError
from ..ground.processes import Processes
from ..world.world import EVALUATION, World
from .loading import load_player

FRAMES = 150
"""At most so many frames of an episode whose length is known: of longer ones every second, third … step is shown."""
LONGEST = 600
"""Frames after which a film of an episode that does not end is cut."""
SHEET = 9
"""Pictures on a sheet."""
SECONDS = 0.1
"""Of a frame."""


def play(plan: Any, players: Sequence[Path], seed: int, see: Callable[[Any], None], sheet: bool, render: bool) -> None:
    """The first held-out episode, everybody greedy, in this process alone; ``see`` is shown the environment as it goes.

    players: every agent's checkpoint, in order; sheet: a few looks, evenly spaced where the length of an episode is known,
    else many; render: the environment will be asked for pictures.
    """
    number = len(plan.world.agents)
    world = World(
        Processes(),
        plan.world,
        plan.config.env,
        [range(number)],
        [0],
        1,
        1,
        seed,
        EVALUATION,
        render=render,
        controllers=plan.controllers,
    )
    actors = [load_player(path, 1, 1, "checkpoint")[1] for path in players]
    for actor in actors:
        actor.begin()
    world.start()
    host = world.host
    assert host is not None
    horizon = plan.world.horizon or 1
    every = max(1, -(-horizon // FRAMES))
    steps = {round(k * horizon / (SHEET - 1)) for k in range(SHEET)} if sheet and horizon > 1 else None
    shown = 0

    def look(environment: Any) -> None:
        nonlocal shown
        if host.lives.over.all() or (host.steps + 1 in steps if steps else (host.steps + 1) % every == 0):
            see(environment)
            shown += 1

    see(host.environment)
    host.look = look
    while host.episode[0] == 0 and shown < LONGEST:
        world.collect(actors)


def record(plan: Any, players: Sequence[Path], seed: int, file: Path) -> str:
    """Write the episode as ``.gif``, ``.mp4`` or ``.png`` (nine pictures); what was written, in words. Raises InputError."""
    check_ending(file)
    frames: list[np.ndarray] = []

    def see(environment: Any) -> None:
        picture = environment.picture(0) if hasattr(environment, "picture") else None
        if picture is None:
            raise InputError(f"--record {file}: {plan.config.env} cannot be drawn")
        frames.append(picture)

    sheet = file.suffix.lower() == ".png"
    play(plan, players, seed, see, sheet, render=True)
    writers = {".gif": _gif, ".mp4": _mp4, ".png": _sheet}
    try:
        writers[file.suffix.lower()](frames, file)
    except OSError as error:
        raise InputError(f"--record {file}: cannot be written ({error.strerror or error})") from None
    number = min(SHEET, len(frames)) if sheet else len(frames)
    return f"{number} pictures of {frames[0].shape[1]}×{frames[0].shape[0]} in {file}"


def check_ending(file: Path) -> None:
    """Raises InputError for a file that cannot become a film."""
    if file.suffix.lower() not in (".gif", ".mp4", ".png"):
        raise InputError(f"--record {file}: must end in .gif, .mp4 or .png")
    if not file.absolute().parent.is_dir():
        raise InputError(f"--record {file}: there is no folder {file.parent}")


def drawable(environment: Any) -> bool:
    """Whether a batch environment says that it can be drawn."""
    return hasattr(environment, "picture") and getattr(environment, "drawable", True)


def watch(plan: Any, players: Sequence[Path], seed: int) -> None:
    """Show the episode in the terminal, in place where it is one. Raises InputError where there is nothing to show."""
    live = sys.stdout.isatty()

    def see(environment: Any) -> None:
        if not hasattr(environment, "text"):
            raise InputError(f"--watch: {plan.config.env} cannot be shown in a terminal; --record draws it")
        print(("\033[H\033[2J" if live else "") + environment.text(0), flush=True)
        if live:
            time.sleep(SECONDS)

    play(plan, players, seed, see, sheet=False, render=False)


def _pillow(what: str) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise InputError(f'{what}: needs pillow; install it with: pip install -c constraints.txt ".[film]"') from None
    return Image


def _gif(frames: list[np.ndarray], file: Path) -> None:
    image = _pillow("--record *.gif")
    first, *others = [image.fromarray(frame).quantize(128) for frame in frames]
    first.save(file, save_all=True, append_images=others, duration=int(1000 * SECONDS), loop=0)


def _mp4(frames: list[np.ndarray], file: Path) -> None:
    try:
        from imageio_ffmpeg import write_frames
    except ImportError:
        raise InputError(
            '--record *.mp4: needs imageio-ffmpeg; install it with: pip install -c constraints.txt ".[film]"'
        ) from None
    height, width = (side - side % 2 for side in frames[0].shape[:2])  # the codec takes even sizes only
    writer = write_frames(str(file), (width, height), fps=1 / SECONDS, macro_block_size=2)
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame[:height, :width]))
    writer.close()


def _sheet(frames: list[np.ndarray], file: Path) -> None:
    """Nine pictures from begin to end, row by row."""
    chosen = [frames[round(at)] for at in np.linspace(0, len(frames) - 1, min(SHEET, len(frames)))]
    columns = 3
    height, width, _ = chosen[0].shape
    gap = max(4, width // 50)
    rows = -(-len(chosen) // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for number, frame in enumerate(chosen):
        top, left = (at * (side + gap) for at, side in zip(divmod(number, columns), (height, width)))
        sheet[top : top + height, left : left + width] = frame
    _pillow("--record *.png").fromarray(sheet).save(file)
