"""Imports that go on beside other work, and that never keep a process which is over."""

from __future__ import annotations

import sys
import threading
from importlib.machinery import ModuleSpec
from typing import Any, Callable


class _Over(BaseException):
    """The process is; no ``except ImportError`` of a library may take it for a module that is not there."""


class Loading(threading.Thread):
    """A thread of imports. When the main thread has ended, it ends at its next import, and the process with it.

    Not a daemon: up to Python 3.13 those are ended wherever they are by ``pthread_exit``, and within the initialisation of a C++ library
    that is ``std::terminate``, so that a process with the status 2 leaves with SIGABRT instead.
    """

    def __init__(self, load: Callable[[], Any]) -> None:
        super().__init__(name="loading", daemon=False)
        self._load = load

    def run(self) -> None:
        """Import. What fails is met again, and said, by who imports the same in the main thread, if that goes on."""
        if (
            Loading not in sys.meta_path
        ):  # where it stays: who walks along a list from which one is taken away misses another
            sys.meta_path.insert(0, Loading)
        try:
            self._load()
        except BaseException:
            if _goes_on():  # else ours, or a library's that may not register its exit handlers any more
                raise

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """What :mod:`importlib` asks before each module that this process does not have yet: none is found here."""
        if isinstance(threading.current_thread(), Loading) and not _goes_on():
            raise _Over
        return None


def _goes_on() -> bool:
    return threading.main_thread().is_alive()
