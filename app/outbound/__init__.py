"""Connections that a request asks for: which addresses they may go to, and files fetched by URL."""
