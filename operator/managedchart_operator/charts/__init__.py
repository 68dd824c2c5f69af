"""Charts: where they come from, how they are kept, and what can be read of them without helm rendering them."""
