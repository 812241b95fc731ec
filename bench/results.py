"""What a whole run said, with the machine and the versions that it was said of."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.machine import machine, versions

FOLDER = Path(__file__).resolve().parent
Document = Mapping[str, Any]


def write(found: Mapping[str, Sequence[Document]]) -> None:
    """Write RESULTS.md, and the same as RESULTS.json.

    Args:
        found: the documents of each figure; none where it was not measured.
    """
    about = {"machine": machine(), "versions": versions()}
    document = {**about, "figures": found}
    (FOLDER / "RESULTS.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    lines = [
        "# Results",
        "",
        "Written by `make bench`. Each figure is measured against something side by side in one",
        "run; only the ratios mean something on another machine.",
        "",
        *_table(about["machine"]),
        *_table(about["versions"]),
        "## Limits",
        "",
        "| figure | what | limit | found | |",
        "|---|---|---|---|---|",
        *(row for documents in found.values() for each in documents for row in _limits(each)),
        "",
    ]
    for name, documents in found.items():
        lines += [f"## {name}", ""]
        lines += [line for each in documents for line in _figure(each)] or ["Not measured.", ""]
    (FOLDER / "RESULTS.md").write_text("\n".join(lines).rstrip() + "\n", "utf-8")


def _table(said: Mapping[str, str]) -> list[str]:
    return [*(f"- {name}: {text}" for name, text in said.items()), ""]


def _limits(figure: Document) -> list[str]:
    return [
        f"| {figure['name']} | {each['name']} | {limit['limit']} | {_number(limit['found'])} |"
        f" {'met' if limit['met'] else '**missed**'} |"
        for each in figure["contenders"]
        for limit in each["limits"]
    ]


def _figure(figure: Document) -> list[str]:
    often = "once" if figure["rounds"] == 1 else f"medians of {figure['rounds']} rounds"
    rows = [
        f"| {each['name']} | {_number(each['median'])} | {_number(each['ratio'])} |"
        for each in figure["contenders"]
    ]
    return [
        f"{figure['name']}: {figure['unit']}, {often}.",
        "",
        f"| contender | {figure['unit']} | x |",
        "|---|---|---|",
        *rows,
        "",
        *(f"- {note}" for note in figure["notes"]),
        *([""] if figure["notes"] else []),
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
