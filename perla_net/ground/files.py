"""Files as users name them, and as this program writes them: UTF-8 whatever the locale, and a sentence for what cannot be written."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from .errors import InputError, WriteError


def given(text: str | Path, option: str) -> Path:
    """The path that a user means, with ``~`` as the home folder. Raises InputError naming ``option`` where there is no such user, or no
    file can have that name."""
    try:
        path = Path(text).expanduser()
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            pass  # whoever wants it there says so
    except RuntimeError:
        raise InputError(f"{option} {text}: there is no home folder of that user") from None
    except UnicodeEncodeError:
        raise InputError(
            f"{option} {text!a}: has letters that this locale's file names cannot have; use UTF-8 (LC_ALL)"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{option} {str(text)[:80]!r}: no file can be called that ({reason})") from None
    return path


def shipped(name: str) -> Path:
    """A folder of the clone's top that travels with the program: inside an installed package, beside it in a checkout."""
    inside = Path(__file__).parents[1] / "shipped" / name
    return inside if inside.is_dir() else Path(__file__).parents[2] / name


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Within, what cannot be written (a full disk, say) raises WriteError that names the place."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BlockingIOError):
            raise
        raise WriteError(f"{error.filename or place}: cannot be written ({error.strerror or error})") from None


def write_whole(file: Path, text: str) -> None:
    """Write a file in one step: whoever looks finds the old one or all of the new one. Raises WriteError."""
    draft = file.with_name(file.name + ".tmp")
    with writing(file):
        try:
            draft.write_text(text, encoding="utf-8")
            os.replace(draft, file)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
