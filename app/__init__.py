"""Heliograph: one GraphQL API, and one REST route, in front of the SMTP servers people already have."""
