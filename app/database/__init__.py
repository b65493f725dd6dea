"""Tortoise configuration, our database clients, transactions, migrations, keys."""
