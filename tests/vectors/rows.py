"""Reads the tables of behaviour that stand beside it.

A table is UTF-8 text: lines that begin with `#` are for people, the first other line names the
columns, and columns are parted by one tab. Columns missing at the end of a line are empty.
"""

from pathlib import Path

HERE = Path(__file__).parent

Row = dict[str, str]


def rows(table: str) -> list[Row]:
    """The rows of a table, by its file name without `.tsv`."""
    lines = (HERE / f"{table}.tsv").read_text(encoding="utf-8").splitlines()
    kept = [line.split("\t") for line in lines if line and not line.startswith("#")]
    columns, *cells = kept
    for number, row in enumerate(cells, 1):
        if len(row) > len(columns):
            raise ValueError(f"{table}.tsv, row {number}: more cells than columns")
    return [
        dict(zip(columns, row + [""] * (len(columns) - len(row)), strict=True)) for row in cells
    ]


def ids(table: list[Row]) -> list[str]:
    """A name for each row: its first cells."""
    return [" | ".join(list(row.values())[:2])[:80] or "-" for row in table]
