"""Where numbers of a run are copied to, a module each.

A tracker is a class with the methods of `protocol.Tracker` and an entry in `tracking.TRACKERS`.
"""
