"""Actions that routing no longer uses, kept while queued mail may still name them.

An envelope in smtpd's queue names its action. When the configuration lacks it, the envelope
disappears from `smtpctl show queue` without a bounce, and comes back only with the name.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from app.render.generation import Generation, Target, Tombstone
from app.render.opensmtpd import spelling
from app.render.opensmtpd.criteria import table_name
from app.render.opensmtpd.delivery import Delivery, read_delivery, read_relay
from app.render.opensmtpd.regexes import Unreadable
from app.render.opensmtpd.rows import refusal
from app.render.opensmtpd.spelling import Unwritable
from app.routing.credential import Credential, may_log_in
from app.routing.errors import Reason
from app.routing.relay_url import RelayURL

_ACTION = re.compile(
    r"rm-r[1-9][0-9]{0,17}(-[0-9a-f]{12})?"
    r"|rm-(mx|url\.[0-9a-f]{12}|(map|table)[.-][a-z0-9-]{1,36}(\.s[0-9]{1,4})?)"
    r"(\.tls|\.[0-9a-f]{12})?"
)
_HOST_LIST = re.compile(r" host <[^>]*>")
_HOST = re.compile(r""" host (<[^>]*>|"[^"]*")""")
_ACTION_LINE = re.compile(r'^action "([^"]+)" (.+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RenderedAction:
    """An action as a generation has it.

    Attributes:
        text: what stands after its name.
        relays: the relays of the list that it reads; empty where it reads none.
    """

    text: str
    relays: tuple[str, ...] = ()

    @property
    def can_be_queued(self) -> bool:
        """Whether an envelope can name it: an action that only refuses takes none."""
        return self.text.split(" ", 1)[0] == "relay"


def actions_of(generation: Generation) -> dict[str, RenderedAction]:
    """The actions of a generation by name, tombstones included."""
    conf = generation.file("relaymap.conf")
    # Somebody may have edited it: what we cannot have written says nothing to us.
    text = "" if conf is None else conf.content.decode("ascii", "replace")
    return {
        name: RenderedAction(body, _relays(generation, body))
        for name, body in _ACTION_LINE.findall(text)
    }


def _relays(generation: Generation, body: str) -> tuple[str, ...]:
    found = _HOST_LIST.search(body)
    if found is None:
        return ()
    name = found[0].removeprefix(f" host <{table_name('')}").removesuffix(">")
    file = generation.file(name)
    lines = [] if file is None else file.content.decode("ascii", "replace").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


def tombstones_for(
    old: Mapping[str, RenderedAction],
    new: Collection[str],
    kept: Iterable[Tombstone],
    retire_at: int,
) -> tuple[Tombstone, ...]:
    """The tombstones that a new generation needs so that no queued envelope loses its action.

    Args:
        old: the actions of the generation that serves now.
        new: names of the actions of the new one, rendered without tombstones.
        kept: tombstones of the old one that are not yet to go; they keep their time.
        retire_at: when an action that goes now may be retired, in seconds since the epoch.
    """
    found = {stone.action: stone for stone in kept if stone.action not in new}
    for name, action in old.items():
        if action.can_be_queued and is_ours(name) and name not in new and name not in found:
            found[name] = Tombstone(name, action.text, action.relays, retire_at)
    return tuple(found[name] for name in sorted(found))


def is_ours(action: str) -> bool:
    """Whether a name is one that we give to actions; others were written by hand."""
    return _ACTION.fullmatch(action) is not None


@dataclass(frozen=True, slots=True)
class RenderedTombstone:
    """A tombstone as it is written: with a list of its own, since its map may change or go.

    Attributes:
        file: the list file; "" where it reads none.
    """

    name: str
    text: str
    file: str
    relays: tuple[str, ...]
    delivery: Delivery
    labels: frozenset[str]

    def __str__(self) -> str:
        """As it stands in relaymap.conf."""
        return f"action {spelling.action_name(self.name)} {self.text}"

    @property
    def wants_credentials(self) -> bool:
        """Whether its text names the credentials table."""
        return self.delivery.auth

    @property
    def asks(self) -> bool:
        """Whether its relay is asked of the table program."""
        return self.delivery.asks

    @property
    def table(self) -> str:
        """The name of the table that its list is read as."""
        return table_name(self.file)


def tombstones_to_render(
    tombstones: Iterable[Tombstone],
    live: Collection[str],
    credentials: Mapping[str, Credential] | None = None,
) -> tuple[RenderedTombstone, ...]:
    """The tombstones that are written, by name; not those whose action routing uses again.

    A password goes only where its credential allows it today: a retired relay that may no longer
    have it is left out, and its mail waits.

    Args:
        tombstones: those to keep.
        live: the actions that routing uses.
        credentials: those of the routing, by label; None: what they were rendered with before.

    Raises:
        Unwritable: one is not as we render actions.
    """
    chosen = {stone.action: stone for stone in tombstones if stone.action not in live}
    return tuple(_render(chosen[name], credentials) for name in sorted(chosen))


def _render(stone: Tombstone, credentials: Mapping[str, Credential] | None) -> RenderedTombstone:
    if not _ACTION.fullmatch(stone.action):
        raise Unwritable("name of a tombstone")
    try:
        delivery, urls = read_tombstone(stone)
    except Unreadable as error:
        raise Unwritable("tombstone") from error
    verified = delivery.tls is not False
    allowed = urls
    if credentials is not None:
        allowed = [url for url in urls if may_log_in(credentials, url, verified=verified)]
    file, text = "", stone.text
    if (delivery.table and not delivery.asks) or len(allowed) < len(urls):
        file = f"t-{stone.action}"
        text = _HOST.sub(f" host <{table_name(file)}>", stone.text)
    relays = tuple(sorted(spelling.relay_url(url) for url in allowed)) if file else ()
    labels = frozenset(url.credential for url in allowed if url.credential is not None)
    return RenderedTombstone(stone.action, text, file, relays, delivery, labels)


def read_tombstone(stone: Tombstone) -> tuple[Delivery, list[RelayURL]]:
    """The options of a retired action, and its relays.

    Raises:
        Unreadable: it is not as we render actions.
    """
    delivery = read_delivery(stone.text)
    listed = delivery.table and not delivery.asks
    urls = [read_relay(relay) for relay in stone.relays] if listed else []
    if delivery.url is not None:
        urls.append(delivery.url)
    return delivery, urls


def may_not_log_in(
    actions: Mapping[str, RenderedAction], credentials: Mapping[str, Credential]
) -> frozenset[str]:
    """The actions that would take a password to where its credential does not allow it today.

    Those whose credential is gone are not among them: there is no password that they could take.
    """
    found = set()
    for name, action in actions.items():
        try:
            delivery, urls = read_tombstone(Tombstone(name, action.text, action.relays, 0))
        except Unreadable:
            continue
        verified = delivery.tls is not False
        for url in urls:
            known = url.credential in credentials
            if known and not may_log_in(credentials, url, verified=verified):
                found.add(name)
    return frozenset(found)


def tombstone_labels(tombstones: Iterable[RenderedTombstone]) -> frozenset[str]:
    """The credential labels that retired actions may still ask for.

    A label that is no longer given to the MTA stays out of its credentials; mail that needs it
    waits until it is given again or the mail's time is over.
    """
    return frozenset(label for stone in tombstones for label in stone.labels)


def undeclared(tombstones: Iterable[RenderedTombstone], target: Target) -> Iterator[Reason]:
    """Why retired actions cannot be kept: smtpd.conf no longer declares what they name.

    smtpd would not start with them, and without them their mail would be lost from sight.
    """
    for stone in tombstones:
        subject = f"actions/{stone.name}"
        for code, name, known in (
            ("certificate-unknown", stone.delivery.pki, target.certificates),
            ("ca-unknown", stone.delivery.ca, target.cas),
        ):
            if name is not None and name not in known:
                found = refusal(code, target.version, subject, f"{name}, kept for queued mail")
                yield from () if found is None else (found,)
