"""A whole routing as lines for smtpd, or every reason why it cannot be said."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from app.render.generation import Target
from app.render.opensmtpd.actions import ActionLine
from app.render.opensmtpd.criteria import CannotSay, Criterion
from app.render.opensmtpd.expressible import rule_reasons
from app.render.opensmtpd.limits import (
    MAX_LIST_LINES_IN_ALL,
    MAX_MATCH_LINES,
    MAX_REGEX_LINES_IN_ALL,
)
from app.render.opensmtpd.lines import MatchLine, RuleLines, rule_lines
from app.render.opensmtpd.rows import Version, refusal
from app.render.opensmtpd.spelling import Unwritable
from app.routing.errors import Reason
from app.routing.routing_table import RoutingTable
from app.routing.rule import Rule

_NOTHING_TO_WRITE = frozenset({"dangling", "list-lines"})


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is to look through."""

    match_lines: int = 0
    list_lines: int = 0
    regex_lines: int = 0


@dataclass(slots=True)
class Compiled:
    """The lines of a routing, in the order in which rules are tried.

    Attributes:
        actions: by name.
        sizes: what a recipient may have to wait for.
        reasons: why something could not be said; the lines are then not all there.
    """

    actions: dict[str, ActionLine] = field(default_factory=dict)
    matches: list[MatchLine] = field(default_factory=list)
    sizes: Sizes = field(default_factory=Sizes)
    reasons: list[Reason] = field(default_factory=list)

    def lists(self) -> Iterator[Criterion]:
        """The criteria that look through a list, each list once, in the order of use."""
        seen: set[str] = set()
        for match in self.matches:
            for criterion in match.criteria:
                if criterion.file and criterion.file not in seen:
                    seen.add(criterion.file)
                    yield criterion

    def maps(self) -> list[str]:
        """The relay maps whose lists are read, by name."""
        return sorted({a.relay_map for a in self.actions.values() if a.relay_map is not None})

    def labels(self) -> frozenset[str]:
        """The credential labels that actions may use."""
        return frozenset().union(*(action.labels for action in self.actions.values()))


def compile_routing(table: RoutingTable, version: Version, target: Target | None) -> Compiled:
    """The lines of a routing and the reasons against it.

    Args:
        table: the routing.
        version: of OpenSMTPD.
        target: the MTA; None: only what holds for every MTA of that version.

    Raises:
        Unwritable: a text in it is none that our parsers let through.
    """
    own = () if target is None else target.addresses
    if len({rule.id for rule in table.ordered}) < len(table.ordered):
        raise Unwritable("rule id")  # two rules would share an action
    compiled = Compiled()
    _add(compiled, refusal("too-old", version, "version"))
    if compiled.reasons:
        return compiled  # no row speaks of such a version, so none could refuse anything
    for rule in table.ordered:
        reasons = rule_reasons(table, rule, version, target)
        compiled.reasons.extend(reasons)
        if any(reason.code in _NOTHING_TO_WRITE for reason in reasons):
            continue
        try:
            _take(compiled, rule, rule_lines(table, rule, own), version)
        except CannotSay as cannot:
            _add(compiled, refusal(cannot.code, version, f"rules/{rule.name}", str(cannot)))
    return compiled


def _add(compiled: Compiled, reason: Reason | None) -> None:
    if reason is not None:
        compiled.reasons.append(reason)


def _take(compiled: Compiled, rule: Rule, lines: RuleLines, version: Version) -> None:
    before = compiled.sizes
    compiled.matches.extend(lines.matches)
    compiled.actions.update((action.name, action) for action in lines.actions)
    compiled.sizes = Sizes(
        before.match_lines + len(lines.matches),
        before.list_lines + sum(len(c.lines) for c in _criteria(lines)),
        before.regex_lines + sum(len(c.lines) for c in _criteria(lines) if c.is_regex),
    )
    # The rule with which a limit is passed is named, and no later one.
    for code, limit, was, now in (
        ("match-lines", MAX_MATCH_LINES, before.match_lines, compiled.sizes.match_lines),
        ("list-lines", MAX_LIST_LINES_IN_ALL, before.list_lines, compiled.sizes.list_lines),
        ("regex-lines", MAX_REGEX_LINES_IN_ALL, before.regex_lines, compiled.sizes.regex_lines),
    ):
        if was <= limit < now:
            detail = f"with this rule there are more than {limit}"
            _add(compiled, refusal(code, version, f"rules/{rule.name}", detail))


def _criteria(lines: RuleLines) -> Iterator[Criterion]:
    """The criteria of all lines: a list counts as often as it is looked through."""
    return (criterion for match in lines.matches for criterion in match.criteria)
