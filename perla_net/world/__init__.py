"""Environments, the ranks that host them, and rollouts; knows nothing of neighbours."""
