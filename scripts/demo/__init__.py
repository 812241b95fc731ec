"""The demonstration: `python scripts/demo`."""
