"""The request that the running code answers, for the log's lines."""

from contextvars import ContextVar

from msgspec import Struct


class RequestNotes(Struct):
    """Its id, and what becomes known of it. Tasks made meanwhile see the same notes; once it `ended`, those that live
    on belong to no request any more. `key_origins`: of the pages that its API key is for."""

    id: str
    key_id: str | None = None
    key_origins: tuple[str, ...] = ()
    ended: bool = False


_current: ContextVar[RequestNotes | None] = ContextVar("request", default=None)


def begin_request(request_id: str) -> RequestNotes:
    """From here on the running task, and those it makes, answer this request."""
    notes = RequestNotes(request_id)
    _current.set(notes)
    return notes


def current_request() -> RequestNotes | None:
    """None where no request is answered."""
    notes = _current.get()
    return None if notes is None or notes.ended else notes


def note_key(key_id: str, origins: tuple[str, ...] = ()) -> None:
    """The request has shown this API key, which is valid; `origins`: of the pages that it is for."""
    notes = _current.get()
    if notes is not None and not notes.ended:
        notes.key_id = key_id
        notes.key_origins = origins
