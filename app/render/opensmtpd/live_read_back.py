"""Reads the fixed files of an MTA that asks back, and refuses them if an action means otherwise."""

import re
from collections.abc import Iterable

from app.render.generation import Generation
from app.render.opensmtpd.actions import message_of
from app.render.opensmtpd.delivery import Delivery, read_delivery
from app.render.opensmtpd.live import walk_of
from app.render.opensmtpd.read_back import ReadBackDiffers
from app.render.opensmtpd.regexes import Unreadable
from app.routing.decision import Fixed
from app.routing.next_hop import ViaMap, ViaTable
from app.routing.relay_url import RelayURL
from app.routing.rule import Reject

_ACTION = re.compile(r'^action "([^"]+)" (.+)$', re.MULTILINE)
_MATCH = re.compile(r'^match tag <rm-walk> from .* action "([^"]+)"$', re.MULTILINE)
_TABLE = re.compile(r'^table "([^"]+)" "relaymap:[^"]+"$', re.MULTILINE)
_REJECT = re.compile(r'expand-only virtual \{ "@" = "error:550 5\.7\.1 ([^"]+)" \}')


def check(wanted: Iterable[Fixed], generation: Generation) -> None:
    """Hold the actions of a generation against those that a routing may decide for.

    Raises:
        ReadBackDiffers: with the name of an action, or the file.
    """
    conf = generation.file("relaymap.conf")
    text = "" if conf is None else conf.content.decode("ascii", "replace")
    actions, tables = dict(_ACTION.findall(text)), set(_TABLE.findall(text))
    asked = tuple(_MATCH.findall(text))
    if asked != walk_of(generation) or len(set(asked)) < len(asked):
        raise ReadBackDiffers("walk")
    if not {"rm-walk", "rm-credentials"} <= tables:
        raise ReadBackDiffers("tables")
    for each in wanted:
        said = actions.get(each.name)
        if each.name not in asked or said is None or not _means(said, each, tables):
            raise ReadBackDiffers(f"action {each.name}")


def _means(said: str, wanted: Fixed, tables: set[str]) -> bool:
    if isinstance(wanted.to, Reject):
        found = _REJECT.fullmatch(said)
        message = "" if found is None else re.sub(r"\\([,'])", r"\1", found[1])
        return message == message_of(wanted.to)
    try:
        delivery = read_delivery(said)
    except Unreadable:
        return False
    asks = isinstance(wanted.to, ViaMap | ViaTable)
    if asks and wanted.name not in tables:
        return False
    return delivery == _delivery(wanted, asks=asks)


def _delivery(wanted: Fixed, *, asks: bool) -> Delivery:
    options = wanted.options
    url = wanted.to if isinstance(wanted.to, RelayURL) else None
    return Delivery(
        table=wanted.name if asks else "",
        url=url,
        auth=asks or (url is not None and url.credential is not None),
        tls=options.tls_verify if options.mandatory else None,
        ca=options.ca if options.mandatory else None,
        pki=options.certificate,
        sources=options.sources,
        helo=options.helo,
        mail_from=options.mail_from,
        ttl_s=options.ttl_s,
        asks=asks,
    )
