"""helm: what goes in, how it runs, what it leaves in its storage, and what its errors mean."""
