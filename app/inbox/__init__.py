"""Mail that must not leave: a loopback SMTP receiver, and what arrived at it."""
