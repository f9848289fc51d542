"""Settings × seeds, and what can be said of them."""
