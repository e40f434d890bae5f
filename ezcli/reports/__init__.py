"""Reports: tables, plots and pages from run folders, with statistics for few runs.

Reading order: `statistics` (estimates and intervals) → `published` (published scores) → `collect`
(run folders to scores) → `compare` (arms against the full agent) → `report` (tables) → `formats`,
`page`, `plots` (output).
"""
