"""Reconciling: look at the cluster, decide, act, tell."""
