"""Many runs: what is ablated, which runs a study needs, what they cost, and running them.

Reading order: `ablations` (deltas to a preset), `design` (options to arms), `study` (the record on
disk and the runs that it needs), `catalogue` (the runs there are), `estimate`, `schedule`
(what is started when), `launchers` (where).
"""
