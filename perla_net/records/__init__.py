"""A run's folder: written, read, looked at."""
