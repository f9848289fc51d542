"""Every option of a run: declared, read, checked, written."""
