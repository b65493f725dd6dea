"""The named SMTP accounts."""
