"""The run config: all settings that determine a run's result, from TOML files and overrides.

Read `run` first: it defines the settings and the identity. The other modules read and write them.
"""
