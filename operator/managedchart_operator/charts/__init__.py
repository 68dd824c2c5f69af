"""Charts: where they come from, how they are cached, and what can be read of them without rendering them."""
