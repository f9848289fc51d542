"""Agent traffic: who hears whom, what a message looks like, and what it cost."""
