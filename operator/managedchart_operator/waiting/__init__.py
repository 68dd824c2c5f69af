"""Waits until the objects of a release are ready, and until they are deleted."""
