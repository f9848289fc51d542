"""``python -m perla_net.report``."""

import sys

from ..ground.entry import entry
from .command import main

sys.exit(entry(main, sys.argv[1:]))
