"""What the operator does to a release, one operation a file; each is a function that returns an `Outcome`."""
