"""OpenSMTPD 6.8 and 7.x: what it can do, how it is said to it, and how it is read back."""
