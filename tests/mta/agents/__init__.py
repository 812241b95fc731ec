"""Agents at work beside a real smtpd: what their tests share."""
