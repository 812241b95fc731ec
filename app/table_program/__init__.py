"""The third process: the user of smtpd, one file to read, and no end before smtpd's."""
