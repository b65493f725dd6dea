"""What a worker knows of services and DKIM keys is what is stored as it claims a mail."""

import pytest

from app.database.connection import dialect, execute
from app.database.key import new_key
from app.delivery.attempt import Attempter
from app.delivery.backoff import RetryPolicy
from app.delivery.lease import LeasePolicy
from app.domains.manage import activate_dkim_key, generate_dkim_key, retire_dkim_key
from app.domains.models import DkimAlgorithm
from app.domains.signing import ContentSigner
from app.inbox.receiver import Receiver
from app.queue.wakeup import Wakeup
from app.services.known_services import KnownServices
from app.services.models import Service
from app.smtp.pool import Pool
from tests.delivery.conftest import Put, plain_server
from tests.delivery.test_signing import CONTENT, SEALER
from tests.domains.dns_answers import answering
from tests.factories import recipient_states
from tests.statements import told


@pytest.fixture
def knowing(pool: Pool, wakeup: Wakeup) -> Attempter:
    retry, lease = RetryPolicy((30,), 0.2, 3600), LeasePolicy(60, 3600, 0.01)
    signer, services = ContentSigner(SEALER, 10), KnownServices(10)
    return Attempter(new_key(), pool, plain_server, retry, lease, wakeup, signer=signer, services=services)


async def test_each_mail_leaves_by_what_is_stored_as_it_is_claimed(
    service: Service, receiver: Receiver, put_mail: Put, knowing: Attempter
) -> None:
    async def signed() -> bool:
        assert await knowing.attempt(await put_mail(content=CONTENT))
        return b"DKIM-Signature" in receiver.mails[-1].content

    assert not await signed()
    key = await generate_dkim_key("example.com", "s1", DkimAlgorithm.ED25519, None, SEALER)
    await activate_dkim_key(key.id, None, answering({}), force=True)
    assert await signed()
    assert await signed()
    await retire_dkim_key(key.id, None)
    assert not await signed()
    async with Receiver(keep=True) as other:
        await execute("UPDATE service SET port = $2, version = version + 1 WHERE id = $1", service.id, other.port)
        message_id = await put_mail(content=CONTENT)
        assert await knowing.attempt(message_id)
        assert await recipient_states(message_id) == ["sent"]
        assert (len(receiver.mails), len(other.mails)) == (4, 1)
        if dialect() == "sqlite":
            message_id = await put_mail(content=CONTENT)
            async with told() as statements:
                assert await knowing.attempt(message_id)
            assert not any("FROM dkim_key" in sql or 'FROM "service"' in sql for sql in statements)
            assert sum(sql.startswith("UPDATE message SET lease_owner") for sql in statements) >= 1
