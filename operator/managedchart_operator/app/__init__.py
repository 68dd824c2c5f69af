"""The operator as a program: settings, kopf's handlers, HTTP, metrics, command line."""
