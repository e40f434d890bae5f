"""Runs as tasks of a Ray cluster.

Each run is a task that reserves cores and GPUs and starts the run's process (`worker`). On a node
that shares files with the driver, it trains in the run's folder. On other nodes it trains in a copy
of the folder (`transport`): an actor beside the driver (`driver`) sends it and receives it back
every few minutes. A lost node costs no more than the training since the last copy.
"""
