"""Relaymap, the control plane for where mail leaves: this file holds its version and nothing else."""

__version__ = "0.1.0"
