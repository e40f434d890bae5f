"""Studies of many runs: ablations, planning, cost estimates and execution.

Reading order: `ablations` (changes to a preset), `design` (options to arms), `study` (the record on
disk and its runs), `catalogue` (existing runs), `estimate` (cost), `schedule` (order of execution),
`launchers` (processes and clusters).
"""
