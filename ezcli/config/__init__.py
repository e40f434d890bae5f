"""The run config: everything that decides a run's result, from TOML files and overrides.

Read `run` first: it holds the settings and the identity. The other modules read and write them.
"""
