"""One training run, from its config to its folder.

Reading order: `seeding` (streams of randomness), `trainer` (the loop: collect, reanalyse, learn),
`evaluate` (scores), `folder` (what is on disk), `checkpoint` (exact save and restore), `train`
(all of them together); then `agent` and `watch` (one game, with what the agent thinks).
"""
