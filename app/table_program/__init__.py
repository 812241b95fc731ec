"""The table program: answers smtpd's own look-ups. The MTA's user, one file to read, no exit."""
