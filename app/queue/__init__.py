"""Accepted mail, durable until every recipient is settled."""
