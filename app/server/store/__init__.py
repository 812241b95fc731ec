"""The store of all that the server keeps, in SQLite or PostgreSQL, by one set of statements."""
