"""Parity: what `resolve` says about an envelope is what a real smtpd does with it."""
