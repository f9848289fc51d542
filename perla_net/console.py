"""What is said, where it is read: a terminal without some letters, or a reader that has gone away."""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class Patient:
    """A text stream to a reader that may leave (``| head``), or to a disk that may be full: what it cannot take is dropped from
    then on, and the program goes on."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            return self.stream.write(text)
        except OSError:
            self._leave()
            return len(text)

    def flush(self) -> None:
        """Flush, or drop."""
        try:
            self.stream.flush()
        except OSError:
            self._leave()

    def _leave(self) -> None:
        # What is still buffered would fail again when the process ends, so the descriptor itself leads nowhere from now on.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)


def prepare() -> None:
    """Let stdout and stderr take any text: letters that their encoding lacks are replaced."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
            setattr(sys, name, Patient(stream))
