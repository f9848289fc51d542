"""The exceptions that end in one sentence."""


class InputError(Exception):
    """A wrong option, file or combination: one sentence that names it, its value and what would be right.

    Entry points print it from rank 0 only and leave with exit status 2.
    """


class ContractError(InputError):
    """An environment that does not keep what it says or what the parallel API asks: one sentence that says what.

    Exit status 2 where it is found before training; where it is met while running, all ranks hear of it and end together (see
    :class:`Stopped`).
    """


class Stopped(Exception):
    """A run that every rank knows to be over, so that all of them end by themselves; text: what one of them says, empty on the
    others.

    Exit status ``status``; what was learned is in a checkpoint.
    """

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


class Unsaved(Stopped):
    """A checkpoint that some rank could not write, as on a full disk; the checkpoints of before stay."""


class Diverged(Exception):
    """A run that cannot go on, because its networks are no longer finite, or methods that learn as a group are out of step: one sentence that
    says whose, and when. As with :class:`Stopped`, all ranks have it, and one of them the text; nothing of the round is kept.

    Exit status 1, and the checkpoints of before stay.
    """


class WriteError(Exception):
    """A file that cannot be written, as on a full disk: one sentence that names it.

    Exit status 1; what was written before, older checkpoints above all, stays.
    """
