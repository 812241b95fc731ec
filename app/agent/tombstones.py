"""How long a retired action stays rendered: until no queued mail can name it any more."""

from collections.abc import Iterable

from app.agent.queue import Scan
from app.render.generation import Tombstone

GRACE_S = 86_400


def retire_at(now_s: int, queue_ttl_s: int, longest_rule_ttl_s: int) -> int:
    """When an action that is retired now may go: after the queue's longest life, and a day.

    The life is the longest that the MTA or a rule grants: a message may be as old as that.
    """
    return now_s + max(queue_ttl_s, longest_rule_ttl_s) + GRACE_S


def kept(tombstones: Iterable[Tombstone], now_s: int, scan: Scan) -> tuple[Tombstone, ...]:
    """The tombstones that must stay: their time is not over, or a queued envelope may name them.

    The queue decides whatever the clock says: a clock that jumped strands nothing.
    """
    return tuple(
        each for each in tombstones if each.retire_at > now_s or scan.may_name(each.action)
    )
