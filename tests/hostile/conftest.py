"""The outcome that a harmed run must come to."""

from tests.runs.conftest import undisturbed  # noqa: F401
