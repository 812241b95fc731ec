"""A real OpenSMTPD with everything it talks to, in a machine of its own that leaves no trace."""
