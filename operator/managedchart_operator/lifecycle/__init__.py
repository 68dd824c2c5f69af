"""Lifecycles: the six phases around a chart, the built-in ones, and how others are found."""
