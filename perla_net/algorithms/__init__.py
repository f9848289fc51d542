"""Learners: pure torch, one agent each, no MPI."""
