"""Films of an agent's games, with its observations and plans.

Reading order: `drawing` (from a moment of `runs.watch` to a picture), `video` (from pictures to a
file). Inputs are arrays and numbers. Nothing here depends on networks, a display, or programs other
than Python.
"""
