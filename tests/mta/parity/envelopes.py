"""Random envelopes over the vocabulary of the tables, and how each is put to the daemon."""

from dataclasses import dataclass
from random import Random

from app.routing.envelope import (
    Envelope,
    MailAddress,
    Undeliverable,
    parse_client,
    parse_mail_address,
)
from tests.mta.bed.injector import SOCKET, Submission
from tests.mta.parity import world
from tests.mta.parity.tables import HELOS, LOCALS, MX_ONLY, RECIPIENT_DOMAINS, SENDER_DOMAINS
from tests.mta.parity.world import Client

REFUSED_FORMS = ('"quoted"@a.test', "a..b@a.test", ".joe@b.test", "joe@a.test.", "joe@a..test")
LITERALS = ("joe@[127.0.1.41]", "joe@[IPv6:2001:db8:2::25]")


@dataclass(frozen=True, slots=True)
class Sent:
    """An envelope as it is put to the daemon."""

    sender: str
    recipient: str
    client: Client
    user: str = ""
    helo: str = "localhost"
    tag: str = ""

    def envelope(self) -> Envelope:
        """Answer it as the core sees it.

        Raises:
            Undeliverable: an address has a form that the daemon refuses.
        """
        return Envelope(
            sender=parse_mail_address(self.sender),
            recipient=parse_mail_address(self.recipient),
            client=parse_client(self.client.address.replace(SOCKET, "local")),
            auth_user=self.user.lower() or None,
            helo=self.helo.lower(),
            tag=self.tag.lower(),
            own_addresses=world.OWN_ADDRESSES,
        )

    def submission(self, probe: str) -> Submission:
        """Answer it as the injector sends it."""
        return Submission(
            probe,
            self.sender,
            self.recipient,
            world.PORTS[self.tag],
            self.client.host,
            self.client.address,
            self.helo,
            self.user,
            world.USERS.get(self.user.lower(), ""),
        )

    def __str__(self) -> str:
        """One line for a report."""
        return (
            f"<{self.sender}> to <{self.recipient}> from {self.client.address}"
            f" user={self.user or '-'} helo={self.helo} tag={self.tag or '-'}"
        )


def bounce_of(sent: Sent) -> Envelope | None:
    """Answer the envelope of the bounce that a message makes; the null sender gets none."""
    try:
        sender: MailAddress = sent.envelope().sender
    except Undeliverable:
        return None
    if not sender.domain:
        return None
    return Envelope(
        parse_mail_address(""), sender, helo=world.HELO_OF_MTA, own_addresses=world.OWN_ADDRESSES
    )


def random_envelope(random: Random) -> Sent:
    """Answer any envelope; one in a hundred has an address that no rule ever sees."""
    sender, recipient = _sender(random), _recipient(random)
    client = random.choice(world.CLIENTS)
    if client.address == SOCKET:
        return Sent(sender, recipient, client)
    if random.random() < 0.01:
        sender, recipient = _refused(random, sender, recipient)
    return Sent(
        sender,
        recipient,
        client,
        random.choice(["", "", "", *world.USERS, "ALICE"]),
        random.choice([*HELOS, "MX.h.test", "[192.0.2.1]"]),
        random.choice(["", "", *world.PORTS]),
    )


def _sender(random: Random) -> str:
    if random.random() < 0.15:
        return ""
    return _spelt(random, f"{random.choice(LOCALS)}@{random.choice(SENDER_DOMAINS)}")


def _recipient(random: Random) -> str:
    choice = random.random()
    if choice < 0.03:
        return random.choice(LITERALS)
    domains = MX_ONLY if choice < 0.15 else RECIPIENT_DOMAINS
    return _spelt(random, f"{random.choice(LOCALS)}@{random.choice(domains)}")


def _spelt(random: Random, address: str) -> str:
    """Answer an address, now and then in other letters: case is of no meaning anywhere."""
    return random.choice([address.upper(), address.title(), *[address] * 8])


def _refused(random: Random, sender: str, recipient: str) -> tuple[str, str]:
    form = random.choice(REFUSED_FORMS)
    return (form, recipient) if random.random() < 0.3 else (sender, form)
