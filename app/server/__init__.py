"""The server keeps the wanted routing, answers questions about it, and tells agents of it."""
