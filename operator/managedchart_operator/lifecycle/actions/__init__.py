"""Declarative actions around the phases of a lifecycle: one verb a file in `verbs/`, read by `reading`, run by `running`."""
