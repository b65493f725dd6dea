"""Talk to one SMTP server (RFC 5321). Knows no table."""
