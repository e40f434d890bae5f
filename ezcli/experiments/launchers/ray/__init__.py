"""Runs as tasks of a Ray cluster.

Each run is a task that holds its share of cores and GPUs and starts the run's process beside it
(`worker`). Where a node sees the driver's files, it trains in the run's folder. Where it does not,
a copy of the folder travels (`transport`): an actor beside the driver (`driver`) hands it out and
takes it back every few minutes, so that a lost node costs no more than what came after the last
time.
"""
