"""Before anybody trains: whom must each agent hear, and will hearing pay?

``python -m perla_net.gain ENV``. Visited states are branched into many futures that differ in the joint action alone, and the
variance of what each agent is paid is taken apart: what its own action does, what each other's does, what neither does.

``acting.py``: who acts, with noise that is handed in; ``visiting.py``: states that policies come to; ``branching.py``: what follows
from a state and a joint action; ``variance.py``: the estimators, from numbers alone; ``prediction.py``: averages, intervals, and what
they predict; ``words.py``: tables and sentences; ``picture.py``; ``__main__.py``: the command line.
"""
