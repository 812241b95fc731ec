"""Answers about what an OpenSMTPD can do: the rows, and why a routing is not expressible."""

from app.render.generation import Target
from app.render.opensmtpd.compiled import compile_routing
from app.render.opensmtpd.expressible import live_reasons
from app.render.opensmtpd.live import too_many_actions
from app.render.opensmtpd.rows import CAPABILITIES, Capability, Verdict, Version
from app.routing.decision import assign, needed
from app.routing.errors import Reason
from app.routing.next_hop import MX
from app.routing.routing_table import RoutingTable
from app.routing.rule import RelayAction, Rule
from app.routing.uses import kinds_of

__all__ = ["CAPABILITIES", "Capability", "Verdict", "Version", "notices", "reasons"]


def reasons(
    table: RoutingTable, version: Version, target: Target | None = None, *, live: bool = False
) -> tuple[Reason, ...]:
    """Why a routing cannot be said to an OpenSMTPD; empty where it can.

    Args:
        table: the routing.
        version: of OpenSMTPD, such as (7, 8).
        target: the MTA; None: only what holds for every MTA of that version.
        live: whether it asks the table program.

    Raises:
        Unwritable: a text in it is none that our parsers let through.
    """
    if live:
        found = live_reasons(table, version, target)
        return found or too_many_actions(needed(table, assign({}, table)), version)
    return tuple(compile_routing(table, version, target).reasons)


def notices(table: RoutingTable, version: Version, *, live: bool = False) -> tuple[Reason, ...]:
    """What is accepted and will not be quite as `resolve` says, on that version, rule by rule."""
    rows = {
        row.code: row
        for row in CAPABILITIES
        if row.verdict is Verdict.DIFFERS and row.covers(version, live=live)
    }
    found: list[Reason] = []
    for rule in table.ordered:
        met = (rows[code] for code in _met(table, rule) if code in rows)
        found.extend(Reason(f"rules/{rule.name}", row.code, row.detail) for row in met)
    return tuple(found)


def _met(table: RoutingTable, rule: Rule) -> tuple[str, ...]:
    logins = ("auth-unreachable",) if rule.match.positive("auth_users") is not None else ()
    if isinstance(rule.action, RelayAction) and MX in kinds_of(table, rule.action.via):
        return (*logins, "null-mx")
    return logins
