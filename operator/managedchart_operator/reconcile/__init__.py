"""Reconciles: observe, decide, act, report."""
