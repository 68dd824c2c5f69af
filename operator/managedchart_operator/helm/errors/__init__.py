"""Turns helm's error text into an error with a reason, a message and a hint."""
