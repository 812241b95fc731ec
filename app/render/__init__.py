"""The model as an MTA's files, and back: pure, no I/O."""
