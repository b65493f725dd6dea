"""From a claim to its outcome."""
