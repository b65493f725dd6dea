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
from tests.factories import count, make_service, recipient_states

SEALER = Sealer(["k" * 32])
UNUSED = 1  # a port of loopback on which nobody listens
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


async def test_by_whichever_service_it_leaves_a_mail_is_signed_for_the_domain_of_from(
    service: Service, receiver: Receiver, put_mail: Put, make_attempter: MakeAttempter
) -> None:
    key = await generate_dkim_key("example.com", "s1", DkimAlgorithm.ED25519, None, SEALER)
    await activate_dkim_key(key.id, None, answering({}), force=True)
    other = await make_service("other", kind="SMTP", host=receiver.host, port=receiver.port)
    await execute("UPDATE service SET fallbacks = $2, port = $3 WHERE id = $1", service.id, f'["{other.id}"]', UNUSED)
    attempter = make_attempter(signer=ContentSigner(SEALER))
    message_id = await put_mail(content=CONTENT, fallbacks=[other.id])
    assert await attempter.attempt(message_id)
    assert await recipient_states(message_id) == ["queued"]
    assert await attempter.attempt(message_id)
    (mail,) = receiver.mails
    assert b"d=example.com" in mail.content
    assert mail.content.endswith(CONTENT[CONTENT.index(b"Date:") :])
    (row,) = await rows("SELECT number, outcome, service_name FROM attempt WHERE message_id = $1", message_id)
    assert (row["number"], row["outcome"], row["service_name"]) == (1, "sent", "other")
