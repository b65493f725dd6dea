"""The table of revisions."""

from tortoise import fields
from tortoise.models import Model


class Revision(Model):
    """How often the stored facts of this name were changed: triggers count, in the transaction of each change.

    A name that was never counted has no row, which says 0.
    """

    name = fields.CharField(primary_key=True, max_length=16)
    number = fields.BigIntField()

    class Meta:
        table = "revision"
