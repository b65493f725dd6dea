"""Mail of a domain with a key leaves signed, or not at all."""

import dkim

from app.database.connection import execute, rows
from app.domains.key_pair import dkim_record
from app.domains.manage import activate_dkim_key, generate_dkim_key
from app.domains.models import DkimAlgorithm
from app.domains.signing import ContentSigner
from app.inbox.receiver import Receiver
from app.services.models import Service
from app.services.secret import Sealer
from tests.delivery.conftest import MakeAttempter, Put
from tests.domains.dns_answers import answering
from tests.factories import count, recipient_states

SEALER = Sealer(["k" * 32])
CONTENT = b"Date: Sun, 22 Nov 2026 17:04:05 +0000\r\nFrom: ada@example.com\r\nTo: b@x\r\n\r\n.dots\r\n\r\n.\r\n"


async def test_a_signed_mail_arrives_verifiable_and_one_that_cannot_be_signed_is_deferred(
    service: Service, receiver: Receiver, put_mail: Put, make_attempter: MakeAttempter
) -> None:
    key = await generate_dkim_key("example.com", "s1", DkimAlgorithm.ED25519, None, SEALER)
    await activate_dkim_key(key.id, None, answering({}), force=True)
    record = dkim_record("example.com", "s1", key.algorithm, key.public_key)
    attempter = make_attempter(signer=ContentSigner(SEALER))
    first = await put_mail(content=CONTENT)
    assert await attempter.attempt(first)
    (mail,) = receiver.mails
    published = {f"{record.name}.": record.value.encode()}
    assert dkim.DKIM(mail.content).verify(dnsfunc=lambda name, timeout=5: published.get(name.decode()))
    await execute("UPDATE dkim_key SET sealed_private_key = 'v1.torn'")
    second = await put_mail(content=CONTENT)
    assert await attempter.attempt(second)
    assert (await recipient_states(first), await recipient_states(second)) == (["sent"], ["deferred"])
    (row,) = await rows("SELECT detail, phase FROM attempt WHERE message_id = $1", second)
    assert "the DKIM key s1._domainkey.example.com cannot be unsealed" in row["detail"]
    assert (len(receiver.mails), await count("circuit")) == (1, 0)
