"""Load: the requests, wrk, and an open loop."""
