"""Thin adapters over `kubernetes.aio`: the only code that talks to the API server."""
