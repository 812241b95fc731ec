"""Every finding of the routing as it is: the core's, and what each MTA of the fleet cannot do."""

from collections.abc import Iterable, Mapping

from app.render.opensmtpd.capabilities import reasons
from app.routing.check import Finding, Severity, findings
from app.routing.routing_table import RoutingTable
from app.server.fleet import Fleet, version_of

NOT_EXPRESSIBLE = "not-expressible"


class FindingBook:
    """Finds once for each routing and each set of versions; the newest result is remembered."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._key: tuple[RoutingTable, Mapping[str, str]] | None = None
        self._found: tuple[Finding, ...] = ()
        self._by_subject: dict[str, tuple[Finding, ...]] = {}

    def of(self, table: RoutingTable) -> tuple[Finding, ...]:
        """Every finding of a routing, those of single MTAs last."""
        versions = self._fleet.versions()
        if self._key is None or self._key[0] is not table or self._key[1] != versions:
            self._found = (*findings(table), *not_expressible(table, versions))
            self._by_subject = _by_subject(self._found)
            self._key = (table, versions)
        return self._found

    def about(self, table: RoutingTable, subject: str) -> tuple[Finding, ...]:
        """The findings of a routing that concern one subject."""
        self.of(table)
        return self._by_subject.get(subject, ())


def _by_subject(found: Iterable[Finding]) -> dict[str, tuple[Finding, ...]]:
    grouped: dict[str, list[Finding]] = {}
    for finding in found:
        grouped.setdefault(finding.subject, []).append(finding)
    return {subject: tuple(findings) for subject, findings in grouped.items()}


def not_expressible(table: RoutingTable, versions: Mapping[str, str]) -> tuple[Finding, ...]:
    """What each MTA cannot do of a routing, by the version that it last said."""
    found: list[Finding] = []
    by_version = {text: version_of(text) for text in versions.values()}
    for text, version in by_version.items():
        for reason in () if version is None else reasons(table, version):
            found.extend(
                Finding(
                    NOT_EXPRESSIBLE, Severity.WARNING, reason.subject, "", reason.detail, mta=mta
                )
                for mta, said in versions.items()
                if said == text
            )
    return tuple(sorted(found, key=lambda finding: (finding.mta or "", finding.subject)))
