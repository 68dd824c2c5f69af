"""Lifecycles that are not a part of the operator: modules in a mounted folder, and installed packages.

Their code runs in processes of its own and never in the operator's. `catalog` finds out which there are, `plugin_lifecycle`
runs their phases, `processes` starts and ends the processes, `answers` carries out what a phase asks for. In the process
`fork_server` begins, `loading` imports the plug-in, `phase_process` runs a phase, `stand_ins` are what it sees of the operator.
`wire` has the messages between the two.
"""
