"""What a mail is. Pure: no I/O, no clock, no ids made here."""
