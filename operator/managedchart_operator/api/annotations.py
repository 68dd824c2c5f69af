"""The names of the operator's annotations; this module imports nothing, for processes that must stay small."""

GROUP = "managedchart.dev"
RETRY = f"{GROUP}/retry"
FORCE = f"{GROUP}/force"
WAIT = f"{GROUP}/wait"
