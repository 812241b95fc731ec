"""Conditional requests (RFC 9110 13): entity tags of revisions, If-Match, If-None-Match."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from starlette.responses import Response

from app.routing.change import KIND_WORDS, Subject
from app.routing.errors import Fault, RevisionMoved
from app.server.api.faults import At
from app.server.api.refusals import AlreadyThere, BadParameter, PreconditionNeeded, TagMoved
from app.server.api.services import Control
from app.server.live import Mark, Snapshot

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_LIST = re.compile(rf"\s*{_TAG.pattern}\s*(,\s*{_TAG.pattern}\s*)*")


def tag_of(revision: int, history: str) -> str:
    """The strong entity tag of what was last changed in a revision of a history."""
    return f'"{revision}-{history[:4]}"'


def tag_in(snapshot: Snapshot, subject: Subject) -> str | None:
    """The entity tag of a subject; None where it is absent."""
    mark = snapshot.marks.get(subject)
    return None if mark is None else tag_of(mark.revision, snapshot.history)


@dataclass(frozen=True, slots=True)
class Tags:
    """The value of If-Match or If-None-Match: `*`, or entity tags."""

    any: bool = False
    strong: frozenset[str] = frozenset()
    weak: frozenset[str] = frozenset()

    def match_strongly(self, current: str | None) -> bool:
        """Whether the present tag is meant by strong comparison (RFC 9110 8.8.3.2)."""
        return current is not None and (self.any or current in self.strong)

    def match_weakly(self, current: str | None) -> bool:
        """Whether the present tag is meant by weak comparison."""
        if current is None:
            return False
        plain = current.removeprefix("W/")
        return self.any or plain in self.strong or plain in self.weak


def parse_tags(text: str) -> Tags:
    """The tags that a header lists.

    Raises:
        ValueError: it is no list of entity tags.
    """
    if text.strip() == "*":
        return Tags(any=True)
    if not _LIST.fullmatch(text):
        raise ValueError
    found = [(bool(weak), f'"{opaque}"') for weak, opaque in _TAG.findall(text)]
    return Tags(
        strong=frozenset(tag for weak, tag in found if not weak),
        weak=frozenset(tag for weak, tag in found if weak),
    )


@dataclass(frozen=True, slots=True)
class Conditions:
    """The preconditions of one request.

    Attributes:
        demanded: whether the settings ask every write for one.
    """

    if_match: Tags | None
    if_none_match: Tags | None
    demanded: bool = False

    @property
    def create_only(self) -> bool:
        """Whether something is to be made, and nothing replaced: `If-None-Match: *`."""
        return self.if_none_match is not None and self.if_none_match.any

    def check(self, snapshot: Snapshot, subject: Subject) -> None:
        """Let a write of a subject go on, or refuse it (RFC 9110 13.2.2).

        Raises:
            TagMoved: If-Match does not mean the present state.
            AlreadyThere: If-None-Match means it.
            PreconditionNeeded: there is neither, and the settings ask for one.
        """
        current = tag_in(snapshot, subject)
        if self.if_match is not None and not self.if_match.match_strongly(current):
            mark = snapshot.marks.get(subject)
            raise TagMoved(snapshot.revision if mark is None else mark.revision)
        if self.if_none_match is not None and self.if_none_match.match_weakly(current):
            raise AlreadyThere(KIND_WORDS[subject.kind])
        self._check_given(create_only=self.create_only)

    def check_absent(self, snapshot: Snapshot) -> None:
        """Let something that is not there be made, or refuse it: If-Match never means that.

        Raises:
            TagMoved: there is an If-Match.
        """
        if self.if_match is not None:
            raise TagMoved(snapshot.revision)

    def check_head(self, snapshot: Snapshot) -> None:
        """Let a write of several subjects go on, or refuse it: If-Match names the head.

        Raises:
            RevisionMoved: it names another revision.
            PreconditionNeeded: there is none, and the settings ask for one.
        """
        if self.if_match is not None:
            named = {f'"{snapshot.revision}"', tag_of(snapshot.revision, snapshot.history)}
            if not self.if_match.any and not named & self.if_match.strong:
                raise RevisionMoved(snapshot.revision)
        self._check_given()

    def _check_given(self, *, create_only: bool = False) -> None:
        if self.demanded and self.if_match is None and not create_only:
            raise PreconditionNeeded("this server demands If-Match, or If-None-Match to create")


IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        description="Do it only if the resource is still what this entity tag names, else 412.",
        examples=['"41-h3kq"'],
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(
        alias="If-None-Match",
        description=(
            "`*` on a write: only create, else 412. On GET, a tag: 304 if it is still so. A tag is"
            " of what clients write there; findings and the states of relays may change beside it."
        ),
    ),
]


async def _conditions(
    request: Request,
    services: Control,
    _if_match: IfMatch = None,
    _if_none_match: IfNoneMatch = None,
) -> Conditions:
    return Conditions(
        _given(request, "If-Match"),
        _given(request, "If-None-Match"),
        services.options.require_if_match,
    )


def _given(request: Request, name: str) -> Tags | None:
    """The tags of a header; its lines, if there are several, are one list (RFC 9110 5.3)."""
    lines = request.headers.getlist(name)
    try:
        return parse_tags(", ".join(lines)) if lines else None
    except ValueError:
        detail = 'this is a list of entity tags such as "41-h3kq", in their quotes, or *'
        raise BadParameter(At("header", Fault("bad-tag", detail, f"/{name}"))) from None


Preconditions = Annotated[Conditions, Depends(_conditions)]
"""The preconditions of a write."""


class NotModified(Exception):
    """What was asked for is still what the caller has."""

    def __init__(self, tag: str) -> None:
        super().__init__(tag)
        self.tag = tag


async def answer_not_modified(_: Request, outcome: NotModified) -> Response:
    """304 with the entity tag."""
    return Response(status_code=304, headers={"ETag": outcome.tag})


class Reading:
    """The answer to a GET of one resource."""

    def __init__(self, response: Response, snapshot: Snapshot, have: Tags | None) -> None:
        self._response = response
        self._current = snapshot
        self._have = have

    def tag(self, subject: Subject) -> Mark:
        """Put the tag of a subject that is there into the answer; answers its mark.

        Raises:
            NotModified: the caller has this state already.
        """
        mark = self._current.marks[subject]
        self._put(mark.revision)
        return mark

    def tag_head(self) -> str:
        """Put the tag of the head into the answer, for what no subject has a tag for; answers it.

        Raises:
            NotModified: the caller has this state already.
        """
        return self._put(self._current.revision)

    def _put(self, revision: int) -> str:
        tag = tag_of(revision, self._current.history)
        if self._have is not None and self._have.match_weakly(tag):
            raise NotModified(tag)
        self._response.headers["ETag"] = tag
        return tag


async def _reading(
    request: Request, response: Response, services: Control, _if_none_match: IfNoneMatch = None
) -> Reading:
    return Reading(response, services.live.current(), _given(request, "If-None-Match"))


ReadingOf = Annotated[Reading, Depends(_reading)]
"""The answer to a GET of one resource, with its tag."""
