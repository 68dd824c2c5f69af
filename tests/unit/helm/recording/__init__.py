"""Provokes what helm says when things go wrong; `record_outputs.py` keeps it."""
