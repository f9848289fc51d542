"""A run's folder belongs to one run at a time: whoever writes it keeps its ``run.jsonl`` locked."""

from __future__ import annotations

import fcntl
import itertools
from pathlib import Path
from typing import TextIO

from ..ground.errors import InputError
from ..ground.files import given

HELD: dict[Path, TextIO] = {}
"""Folders that this process writes, and the locked files."""


def new(out: str | None, name: str) -> Path:
    """Make the folder of a new run and claim it: ``out``, or ``runs/name``, with a number behind it where that is taken. Two
    runs that begin at the same time never get the same one. Raises InputError, and makes nothing, where it cannot be."""
    if out is not None:
        folder = given(out, "--out")
        if not _claimed(folder):
            raise InputError(
                f"--out {folder}: is there already and not empty; choose another, or continue it with --resume {folder}"
            )
        return folder
    tries = (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(folder for folder in tries if _claimed(folder))


def again(folder: Path) -> None:
    """Claim the folder of a run that is continued. Raises InputError where somebody still writes it."""
    try:
        file = (folder / "run.jsonl").open("a", encoding="utf-8")
    except OSError as error:
        raise InputError(f"--resume {folder}: cannot be written ({error.strerror})") from None
    if not lock(file):
        file.close()
        raise InputError(f"--resume {folder}: a run is still writing it; wait for it, or end it")
    HELD[folder] = file


def release(folder: Path) -> None:
    """Let others have it; a run that ended before it wrote anything leaves nothing."""
    if folder not in HELD:
        return
    file = folder / "run.jsonl"
    if file.exists() and not file.stat().st_size and len(list(folder.iterdir())) == 1:
        file.unlink()
        folder.rmdir()
    HELD.pop(folder).close()


def _claimed(folder: Path) -> bool:
    """Whether the folder is now ours: it was not there, or empty, and nobody else was faster."""
    try:
        if folder.is_dir() and any(folder.iterdir()):
            return False
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = (folder / "run.jsonl").open("x", encoding="utf-8")
        except FileExistsError:  # somebody was faster
            return False
    except OSError as error:  # such as a file, or a link that leads nowhere
        raise InputError(f"--out {folder}: cannot be made ({error.strerror})") from None
    lock(file)
    HELD[folder] = file
    return True


def lock(file: TextIO) -> bool:
    """Lock an open file against other processes; False where another has it locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks: the name alone must do
    return True
