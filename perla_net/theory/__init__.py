"""The promises of policy embedding (PERLA, arXiv 2209.01054) and of what is added to it, checked on games that can be enumerated.

``python -m perla_net.theory``. What is measured goes through the program's own learner (``methods/learner.py``, ``methods/lesson.py``,
``methods/order.py``, ``methods/returns.py``) and its own ``embed``; what is predicted is computed in here by enumeration, and shares no code
with them.

``games.py``: games and their exact values; ``checks.py``: measured against predicted, simultaneous intervals;
``measure.py``: the learner with a known critic; ``variance.py``: theorems 1 and 3; ``convergence.py``: theorem 6;
``nonstationarity.py``: neighbours that change; ``trajectories.py``: several steps;
``folds.py``: critics that are fitted on what they judge, and the fitted coefficient; ``picture.py``; ``__main__.py``: the command line.
"""
