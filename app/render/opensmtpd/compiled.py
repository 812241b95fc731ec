"""A whole routing as lines for smtpd, or every reason why it cannot be said."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from app.render.generation import Target
from app.render.opensmtpd.actions import ActionLine
from app.render.opensmtpd.criteria import CannotSay, Criterion
from app.render.opensmtpd.expressible import rule_reasons
from app.render.opensmtpd.limits import MAX_MATCH_LINES, MAX_REGEX_LINES_IN_ALL
from app.render.opensmtpd.lines import MatchLine, RuleLines, rule_lines
from app.render.opensmtpd.rows import Version, refusal
from app.render.opensmtpd.spelling import Unwritable
from app.routing.errors import Reason
from app.routing.routing_table import RoutingTable
from app.routing.rule import Rule


@dataclass(slots=True)
class Compiled:
    """The lines of a routing, in the order in which rules are tried.

    Attributes:
        actions: by name.
        regex_lines: how many regular expressions a recipient may have to wait for.
        reasons: why something could not be said; the lines are then not all there.
    """

    actions: dict[str, ActionLine] = field(default_factory=dict)
    matches: list[MatchLine] = field(default_factory=list)
    regex_lines: int = 0
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
        if any(reason.code == "dangling" for reason in reasons):
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
    before = len(compiled.matches), compiled.regex_lines
    compiled.matches.extend(lines.matches)
    compiled.regex_lines += sum(
        len(criterion.lines)
        for match in lines.matches
        for criterion in match.criteria
        if criterion.words.endswith(" regex")
    )
    compiled.actions.update((action.name, action) for action in lines.actions)
    subject = f"rules/{rule.name}"
    # The rule with which a limit is passed is named, and no later one.
    if before[0] <= MAX_MATCH_LINES < len(compiled.matches):
        detail = f"with this rule there are more than {MAX_MATCH_LINES} match lines"
        _add(compiled, refusal("match-lines", version, subject, detail))
    if before[1] <= MAX_REGEX_LINES_IN_ALL < compiled.regex_lines:
        detail = f"with this rule there are more than {MAX_REGEX_LINES_IN_ALL}"
        _add(compiled, refusal("regex-lines", version, subject, detail))
