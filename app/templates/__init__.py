"""Stored templates, every version of them."""
