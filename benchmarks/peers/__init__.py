"""Floors and peers: programs of their own that are measured beside Heliograph."""
