"""What is said, where it is read: a terminal without some letters, a reader that has gone away, a log on a full disk."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class Patient:
    """A text stream to a reader that may leave (``| head``), or to a disk that may be full: what it cannot take is dropped from
    then on, and the program goes on. What else than a reader that left is in the way stands in :attr:`lost`."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.lost = stream, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            return self.stream.write(text)
        except OSError as error:
            self._leave(error)
            return len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        try:
            self.stream.flush()
        except OSError as error:
            self._leave(error)

    def _leave(self, error: OSError) -> None:
        if not isinstance(error, BrokenPipeError):
            self.lost = error.strerror or str(error)
        # What is still buffered would fail again when the process ends, so the descriptor itself leads nowhere from now on.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)


def prepare() -> None:
    """Let stdout and stderr take any text: letters that their encoding lacks are replaced."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before the program began
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
            setattr(sys, name, Patient(stream))


def lost() -> int:
    """Say it where something that was printed could not be written; the exit status then: 1, else 0."""
    if isinstance(sys.stdout, Patient):
        sys.stdout.flush()
        if sys.stdout.lost:
            print(f"perla_net: what was printed could not be written ({sys.stdout.lost})", file=sys.stderr, flush=True)
            return 1
    return 0
