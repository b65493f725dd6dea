"""Door two: the DreamFactory-compatible route."""
