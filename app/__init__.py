"""Relaymap, the control plane for where mail leaves: its version."""

__version__ = "0.1.0"
