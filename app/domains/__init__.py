"""Sender domains: the keys that sign their mail, and what the DNS says of them."""
