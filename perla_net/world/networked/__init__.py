"""The program's own environments: networked systems of the literature, stepped for all copies in one call."""
