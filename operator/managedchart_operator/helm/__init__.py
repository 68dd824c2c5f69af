"""Runs helm: its arguments and values, its process, its storage, and the meaning of its errors."""
