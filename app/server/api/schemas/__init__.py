"""What the API takes and answers, as pydantic models: In models refuse, Out models promise."""
