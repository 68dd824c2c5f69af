"""What can go wrong in a way its reader can act on; everything else is a bug and keeps its traceback.

DevclusterError
├── BuildError        a program could not be built or found
├── ComponentError    a component died or never became healthy; carries the end of its log
│   └── PortTakenError    … because somebody else took its port first: worth another try with other ports
└── ClusterStateError the cluster exists already, or does not exist
"""


class DevclusterError(Exception):
    """A failure that is told to the user as one sentence, without a traceback."""


class BuildError(DevclusterError):
    """A program could not be built or found."""


class ComponentError(DevclusterError):
    """A component died or never became healthy; the message ends with the end of its log."""


class PortTakenError(ComponentError):
    """A component found its port taken: between choosing a free port and using it somebody else was faster."""


class ClusterStateError(DevclusterError):
    """The cluster exists already where it must not, or does not where it must."""
