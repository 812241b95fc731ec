"""The agent beside one MTA: makes it serve what the server wants, and reports what it sees."""
