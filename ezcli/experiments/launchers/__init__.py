"""Where the runs of a study execute: one protocol, and a file for each place.

What is planned, how runs are named and resumed, and what is reported know nothing of it: a run is
`ez train` with its arguments, in a folder that says how it stands. A place of your own is one more
file beside these, with a `Place` (its table of settings) and a `Launcher` as in `protocol.py`, and
a line in `cluster.PLACES`.
"""
