"""Sizes up to which OpenSMTPD's static files serve mail in good time, and what it can hold at all.

smtpd looks through every list line by line and compiles every regular expression at every
comparison: 200 of them cost about 2 ms a recipient, 10,000 plain lines 1 to 3 ms.
"""

MAX_REGEX_LINES = 200
MAX_REGEX_LINES_IN_ALL = 5000
MAX_LIST_LINES = 10_000
MAX_LIST_LINES_IN_ALL = 20_000
"""Every process of smtpd reads all lists at its start, and dies if that takes over 10 s."""
MAX_MATCH_LINES = 1000
MAX_HOST = 64
"""Characters of a relay's host name on Linux (HOST_NAME_MAX)."""
MAX_ACTIONS = 500
"""Of an smtpd that asks the table program: each is one question more for who matches none, some
0.07 ms, and up to one process at its start."""
