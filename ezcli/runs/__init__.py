"""One training run, from its config to its folder.

Reading order: `seeding` (random streams), `trainer` (the loop: collect, reanalyse, learn),
`evaluate` (scores), `folder` (files), `checkpoint` (exact save and restore), `train` (a whole run),
then `agent` and `watch` (one game with the agent's plans).
"""
