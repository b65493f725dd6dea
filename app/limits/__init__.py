"""How much and how fast."""
