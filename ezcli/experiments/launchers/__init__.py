"""Where the runs of a study execute: one protocol, and a file for each place.

What is planned, how runs are named and resumed, and what is reported know nothing of it: a run is
`ez train` with its arguments, in a folder that says how it stands. A place of your own is one more
file beside these, and a line where `commands/studies.py` chooses.
"""
