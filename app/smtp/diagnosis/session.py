"""What the stages of one diagnosis have in common."""

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import replace

from app.outbound.guard import Address
from app.outbound.resolve import Resolve
from app.smtp.connection import Connection
from app.smtp.server import AccessToken, Credentials, Server


class Session:
    """One session with `server`. `found`: its addresses; `address`: the one that is talked to, once one accepted.
    `days_left`: how long its certificate is still valid."""

    def __init__(self, server: Server, resolve: Resolve) -> None:
        self.server = server
        self.resolve = resolve
        self.connection = Connection(server)
        self.found: Sequence[Address] = ()
        self.address: Address | None = None
        self.days_left = 0
        self._sockets: dict[Address, socket.socket] = {}

    def keep(self, address: Address, connected: socket.socket) -> None:
        """This address has accepted."""
        self._sockets[address] = connected

    def choose(self, address: Address) -> None:
        """Go on with this address, and close the others."""
        self.address = address
        for other in [other for other in self._sockets if other != address]:
            self._sockets.pop(other).close()

    def take_socket(self) -> socket.socket:
        """The socket of the chosen address, for the connection."""
        assert self.address is not None, "one has accepted"
        return self._sockets.pop(self.address)

    def use_token(self, username: str, token: AccessToken) -> Credentials:
        """What to authenticate with; the server has it from now on, so that it is taken out of replies."""
        credentials = Credentials(username, token.text, is_token=True)
        self.server = self.connection.server = replace(self.server, credentials=credentials)
        return credentials

    def end(self) -> None:
        """Leave, with QUIT where the server listens; nothing stays open."""
        for connected in self._sockets.values():
            connected.close()
        with contextlib.suppress(OSError):
            if self.connection.usable:
                self.connection.quit_soon()
            else:
                self.connection.close()
