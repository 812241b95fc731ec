"""Rendered files as they are expected, case by case; and, run as a script, written anew.

A case is a directory: `input.json` is what is rendered, with a sentence on why; all other files
are what must come out, byte for byte. `python -m tests.golden.cases` writes them again: read the
difference before it is committed.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.render.generation import Generation, Secret, Target, Tombstone
from app.render.opensmtpd.render import render
from app.routing.model import read_model
from app.routing.names import parse_address
from app.routing.routing_table import RoutingTable

HERE = Path(__file__).parent
INPUT = "input.json"


@dataclass(frozen=True, slots=True)
class Case:
    """What is rendered, and what must come out."""

    path: Path
    table: RoutingTable
    secrets: dict[str, Secret]
    target: Target

    @property
    def name(self) -> str:
        return self.path.name

    def expected(self) -> dict[str, bytes]:
        files = (path for path in self.path.iterdir() if path.name != INPUT)
        return {path.name: path.read_bytes() for path in files}

    def render(self) -> Generation:
        return render(self.table, self.secrets, self.target)


def cases(driver: str = "opensmtpd") -> list[Case]:
    """The cases of a driver, by name."""
    return [_case(path.parent) for path in sorted((HERE / driver).glob(f"*/{INPUT}"))]


def _case(path: Path) -> Case:
    given = json.loads((path / INPUT).read_text(encoding="utf-8"))
    major, minor = given["version"].split(".")
    target = Target(
        version=(int(major), int(minor)),
        state_dir="/var/lib/relaymap-agent",
        addresses=tuple(parse_address(text) for text in given.get("addresses", [])),
        certificates=tuple(given.get("certificates", [])),
        cas=tuple(given.get("cas", [])),
        tombstones=tuple(_tombstones(given.get("tombstones", []))),
    )
    secrets = {
        label: Secret(label, 1, username, password)
        for label, (username, password) in given.get("secrets", {}).items()
    }
    parts = ("relay_maps", "out", "tables", "rules", "credentials")
    model = {part: given.get(part, []) for part in parts}
    return Case(path, read_model(model, 1), secrets, target)


def _tombstones(given: list[dict[str, Any]]) -> Iterator[Tombstone]:
    for stone in given:
        yield Tombstone(stone["action"], stone["text"], tuple(stone["relays"]), 0)


def rewrite() -> None:
    """Write what comes out now as what must come out."""
    for case in cases():
        for name in case.expected():
            (case.path / name).unlink()
        for file in case.render().files:
            (case.path / file.name).write_bytes(file.content)


if __name__ == "__main__":
    rewrite()
