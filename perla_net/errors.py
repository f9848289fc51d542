"""The one exception that is the user's to mend."""


class InputError(Exception):
    """A wrong option, file or combination: one sentence that names it, its value and what would be right.

    Entry points print it from rank 0 only and leave with exit status 2.
    """
