"""Lifecycles: the six phases around a chart, the built-in lifecycles, and how plug-ins are found."""
