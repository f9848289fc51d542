"""Sets in the same order in every process: the hash of text is made the same in all of them.

Python draws it anew for each process, and an environment that goes through a set of names (to draw a random number for each, say) then
comes out otherwise on every rank and in every run. Who sets PYTHONHASHSEED keeps what was set.
"""

from __future__ import annotations

import os
import sys


def restart() -> None:
    """Start this process anew with PYTHONHASHSEED=0, where it was started as ``python -m perla_net.…`` without one.

    The number cannot be changed in a process that runs. Nothing has happened yet: this is called before anything else is imported, the
    process stays the same for whoever launched it, and starting Python again takes hundredths of a second (``time python -c pass``).
    """
    words = sys.orig_argv
    ours = "-m" in words and words[words.index("-m") + 1 : words.index("-m") + 2]
    if not ours or ours[0].partition(".")[0] != "perla_net" or "PYTHONHASHSEED" in os.environ or not sys.executable:
        return
    if sys.gettrace() is None and not sys.flags.ignore_environment:
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *words[1:]])
