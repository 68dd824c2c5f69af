"""The verbs, one a file. `registry` finds them: a new verb is a new file with one subclass of `Verb`."""
