"""Thin adapters over `kubernetes.aio`: the only place that speaks with the API server."""
