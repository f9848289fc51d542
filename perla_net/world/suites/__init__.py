"""Environments of other packages, each an optional install; a module per suite, imported only when it is asked for."""
