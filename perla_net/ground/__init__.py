"""The ground: ranks, errors, files, text; knows nothing of learning agents."""
