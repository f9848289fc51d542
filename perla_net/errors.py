"""The exceptions that end in one sentence."""


class InputError(Exception):
    """A wrong option, file or combination: one sentence that names it, its value and what would be right.

    Entry points print it from rank 0 only and leave with exit status 2.
    """


class Diverged(Exception):
    """A run that cannot go on, because numbers in it are no longer finite: one sentence that says whose, which and when.

    Exit status 1, and the checkpoints of before stay.
    """
