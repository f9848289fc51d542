"""A run: the four lines, the plan and its checks, evaluation, films."""
