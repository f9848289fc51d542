"""``python -m perla_net.report``."""

import sys

from ..run import entry
from .command import main

sys.exit(entry(main, sys.argv[1:]))
