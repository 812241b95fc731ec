"""The table program: answers smtpd's own look-ups, as its user, from one file, without an end."""
