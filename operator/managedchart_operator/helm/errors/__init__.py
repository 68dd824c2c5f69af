"""Turns helm's error text into an error that says what is wrong."""
