"""Credentials over HTTP: passwords go in and never out."""

from typing import Annotated, ClassVar

from pydantic import MISSING, Field

from app.routing.credential import MAX_HOSTS, Credential
from app.server.api.schemas.model import In, Out, Time
from app.server.api.schemas.texts import CredentialHost, Password, Username
from app.server.live import Mark


class CredentialIn(In):
    """A login for relays. What the answer says beside these members is taken and ignored."""

    READ_ONLY = frozenset({"label", "revision", "created_at", "updated_at"})
    EXAMPLE: ClassVar[object] = {
        "username": "shop@provider.example",
        "password": "correct horse battery staple",
        "hosts": ["mx1.example.net", "*.provider.example"],
    }

    username: Username
    password: Annotated[Password | MISSING, Field(repr=False)] = MISSING
    """Absent: the present one stays, if the username does too."""
    hosts: Annotated[list[CredentialHost], Field(min_length=1, max_length=MAX_HOSTS)]
    """Where the password may be sent: names, `*.parent`, or addresses as in relay URLs."""
    allow_unverified: bool = False
    """Whether it may go to a relay whose certificate nobody checks."""

    def value(self, label: str) -> Credential:
        """The credential of that label; its revision is given by the edit."""
        hosts = tuple(dict.fromkeys(self.hosts))
        return Credential(label, 0, hosts, self.allow_unverified)


class CredentialOut(Out):
    """A login for relays, without the password."""

    EXAMPLE: ClassVar[object] = {
        "label": "acct",
        "username": "shop@provider.example",
        "hosts": ["mx1.example.net", "*.provider.example"],
        "allow_unverified": False,
        "revision": 7,
        "created_at": "2026-05-01T12:00:00Z",
        "updated_at": "2026-05-01T12:00:00Z",
    }

    label: str
    username: str
    hosts: list[str]
    allow_unverified: bool
    revision: int
    """Of its last change."""
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, credential: Credential, username: str, mark: Mark) -> "CredentialOut":
        """The answer for a credential."""
        return cls(
            label=credential.label,
            username=username,
            hosts=list(credential.hosts),
            allow_unverified=credential.allow_unverified,
            revision=mark.revision,
            created_at=mark.created_at,
            updated_at=mark.updated_at,
        )


class CredentialPage(Out):
    """Some credentials, by label."""

    items: list[CredentialOut]
    next_cursor: str | None


class CredentialUses(Out):
    """Who uses a credential."""

    items: list[str]
    """Paths below /v1/."""
    next_cursor: str | None
