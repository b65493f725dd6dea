"""The tables: a module for each, with `measure`."""
