"""Films of an agent at play: what it sees, and what it thinks.

Reading order: `drawing` (a moment of `runs.watch` -> a picture), `video` (pictures -> a file). Both
take arrays and numbers; nothing here knows networks, and nothing needs a display or programs beside
Python.
"""
