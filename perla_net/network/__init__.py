"""Graphs, and what travels along them; knows nothing of learning."""
