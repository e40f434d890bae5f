"""Where the runs of a study execute: one protocol, and a module for each launcher.

Plans, names, resuming and reports do not depend on the launcher: a run is a folder and `ez resume`
(`experiments/handover.py`). A new launcher is a module with its `LauncherSettings` and a `Launcher`
as in `protocol.py`, and a line in `cluster.LAUNCHERS`.
"""
