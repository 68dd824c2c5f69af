"""The chaos test: a random schedule of spec changes, deletes and kills, and what must hold afterwards."""
