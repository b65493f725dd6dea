"""What to tell the client whose mail was accepted before something went wrong."""

import logging

from app.database.connection import is_transient
from app.database.key import public_id
from app.errors import accepted_unseen
from app.queue.put import Receipt

logger = logging.getLogger(__name__)


def tell_accepted(receipt: Receipt, error: Exception) -> str:
    """The sentence for the client; `error` is logged, unless it is database trouble that passes."""
    message_id = public_id("msg", receipt.message_id)
    if not is_transient(error):
        logger.error("message %s: accepted, but not answered", message_id, exc_info=error)
    return accepted_unseen(message_id)
