"""Written by `tortoise makemigrations`, finished by hand, applied by `heliograph migrate`."""
