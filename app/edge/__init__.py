"""What every request passes on its way to the doors: the socket, proxies, its id, the header of its answer."""
