"""Walk through a session with one SMTP server, stage by stage, and say plainly what is wrong. Sends no mail."""
