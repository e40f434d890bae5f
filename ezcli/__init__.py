"""EfficientZero on Atari 100k: training, ablations and human-normalised scores from one command."""

__version__ = "0.1.0"
