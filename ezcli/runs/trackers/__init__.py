"""Trackers that receive the metrics of a run, one module each.

A tracker is a class with the methods of `protocol.Tracker` and an entry in `tracking.TRACKERS`.
"""
