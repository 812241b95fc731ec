"""Whether the version that an MTA last reported can say a routing, asked once a version."""

from datetime import datetime

from app.render.opensmtpd.capabilities import reasons
from app.routing.errors import Reason
from app.routing.routing_table import RoutingTable
from app.server import lines
from app.server.fleet import Fleet, version_of
from app.server.storage import LineRow

_SHOWN = 20


class Judge:
    """Judges lines of one routing: a thousand MTAs of one version cost one look."""

    def __init__(self, fleet: Fleet, table: RoutingTable, now: datetime) -> None:
        self._fleet = fleet
        self._table = table
        self._now = now
        self._known: dict[tuple[int, int], tuple[Reason, ...]] = {}

    def judged(self, line: LineRow) -> LineRow:
        """The line, refused where its MTA's version cannot say the routing.

        What hangs on one MTA alone, such as the names of its certificates, its agent refuses.
        """
        row = self._fleet.report(line.mta)
        version = None if row is None else version_of(row.report.version)
        if version is None:
            return line
        if version not in self._known:
            self._known[version] = reasons(self._table, version)
        found = self._known[version]
        return lines.refused(line, _sentence(found), self._now) if found else line


def _sentence(found: tuple[Reason, ...]) -> str:
    shown = "; ".join(f"{each.subject}: {each.detail}" for each in found[:_SHOWN])
    more = len(found) - _SHOWN
    return f"not expressible: {shown}" + (f"; and {more} more" if more > 0 else "")
