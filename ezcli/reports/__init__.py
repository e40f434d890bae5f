"""Reports: from run folders to tables, plots and pages, with honest statistics.

Reading order: `statistics` (the arithmetic) → `published` (the scores of others) → `collect` (run
folders to scores) → `compare` (arms against the full agent) → `report` (tables) → `formats`,
`page`, `plots` (how they are drawn).
"""
