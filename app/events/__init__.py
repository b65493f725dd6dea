"""What happened to a message, recorded in the transaction in which it happened."""
