"""One episode of a trained team, looked at: a film, a sheet of pictures, or the terminal."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np

from ..ground.errors import InputError
from ..ground.processes import Processes
from ..ground.text import rounded
from ..world.networked import drawing
from ..world.world import EVALUATION, World
from .company import Company, talking_in
from .evaluation import CHUNK

FRAMES = 150
"""At most so many frames of an episode whose length is known: of longer ones every second, third … step is shown."""
LONGEST = 600
"""Frames after which a film of an episode that does not end is cut."""
SHEET = 9
"""Pictures on a sheet."""
SECONDS = 0.1
"""Of a frame."""
LAST = 1.5
"""Seconds of the last one in a GIF, which begins anew after it."""
ABOUT = "one held-out episode, everybody greedy; return: of all agents together, so far"


def play(
    plan: Any, players: Sequence[Path], seed: int, see: Callable[[Any, float], None], sheet: bool, render: bool
) -> None:
    """The first held-out episode, everybody greedy, in this process alone; ``see`` is shown the environment as it goes, and told the
    return of all agents so far.

    players: every agent's checkpoint, in order; sheet: a few looks, evenly spaced where the length of an episode is known
    and what is seen is drawn at once, else many; render: the environment will be asked for pictures.
    """
    number = len(plan.world.agents)
    # To who talks, a rollout is what its links' delays are counted in.
    rollout = (plan.world.horizon or CHUNK) if talking_in(players) else 1
    world = World(
        Processes(),
        plan.world,
        plan.config.env,
        [range(number)],
        [0],
        1,
        rollout,
        seed,
        EVALUATION,
        render=render,
        controllers=plan.controllers,
    )
    company = Company(Processes(), plan, world, players, 1, rollout, seed)
    world.start()
    host = world.host
    assert host is not None
    horizon = plan.world.horizon or 1
    every = max(1, -(-horizon // FRAMES))
    few = sheet and horizon > 1 and not hasattr(host.environment, "scene")
    steps = {round(k * horizon / (SHEET - 1)) for k in range(SHEET)} if few else None
    shown, total, over = 0, 0.0, False

    def look(environment: Any) -> None:
        nonlocal shown, total, over
        if over:  # the rest of a rollout
            return
        total += float(host.reward[0].sum())
        if host.lives.over.all() or (host.steps + 1 in steps if steps else (host.steps + 1) % every == 0):
            see(environment, total)
            shown += 1
        over = bool(host.lives.over.all())

    see(host.environment, total)
    host.look = look
    while host.episode[0] == 0 and shown < LONGEST:
        company.begin()
        company.collect()


def record(plan: Any, players: Sequence[Path], seed: int, file: Path) -> str:
    """Write the episode as ``.gif``, ``.mp4`` or ``.png`` (nine pictures); what was written, in words. Raises InputError."""
    check_ending(file)
    seen: list[Any] = []

    def see(environment: Any, total: float) -> None:
        if hasattr(environment, "scene"):
            seen.append(replace(environment.scene(0), told=f"return {rounded(total, 4)}"))
            return
        picture = environment.picture(0) if hasattr(environment, "picture") else None
        if picture is None:
            raise InputError(f"--record {file}: {plan.config.env} cannot be drawn")
        seen.append(picture)

    sheet = file.suffix.lower() == ".png"
    play(plan, players, seed, see, sheet, render=True)
    drawn = isinstance(seen[0], drawing.Scene)
    number = min(SHEET, len(seen)) if sheet else len(seen)
    try:
        if sheet:
            whole = drawing.sheet(seen, SHEET, ABOUT) if drawn else _tiled(seen)
            _pillow("--record *.png").fromarray(whole).save(file)
            return f"{number} pictures on a sheet of {whole.shape[1]}×{whole.shape[0]} in {file}"
        frames = list(drawing.frames(seen, ABOUT)) if drawn else seen
        {".gif": _gif, ".mp4": _mp4}[file.suffix.lower()](frames, file)
    except OSError as error:
        raise InputError(f"--record {file}: cannot be written ({error.strerror or error})") from None
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

    def see(environment: Any, total: float) -> None:
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
    # One palette and no dithering: what does not change stays as it is, and the file small.
    palette = image.fromarray(np.concatenate(frames[:: max(1, len(frames) // SHEET)])).quantize(128)
    first, *others = [image.fromarray(frame).quantize(palette=palette, dither=image.Dither.NONE) for frame in frames]
    durations = [int(1000 * SECONDS)] * len(others) + [int(1000 * LAST)]
    first.save(file, save_all=True, append_images=others, duration=durations, loop=0)


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


def _tiled(frames: list[np.ndarray]) -> np.ndarray:
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
    return sheet
