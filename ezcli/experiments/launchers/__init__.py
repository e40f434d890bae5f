"""Where the runs of a study execute: one protocol, and a module for each launcher.

What is planned, how runs are named and resumed, and what is reported do not depend on it: a run is
a folder and `ez resume` (`experiments/handover.py`). Another launcher is one more module with its
`LauncherSettings` and a `Launcher` as in `protocol.py`, and a line in `cluster.LAUNCHERS`.
"""
