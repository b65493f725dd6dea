"""Door one."""
