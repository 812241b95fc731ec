"""The entries of a table as a file, in four forms: by key, in parts, made as they are taken."""

from collections.abc import Callable, Iterator
from itertools import islice

from app.routing.entries import TableEntries
from app.routing.next_hop import EntryHop
from app.routing.ordering import in_order
from app.server.api.entry_forms import Form

_ROWS = 2_048
"""Of one part: some 100 KiB."""
_KEPT_TEXTS = 50_000

# A key has no quote, backslash, comma, blank or control character, nor has the text of a next hop:
# neither grammar takes one.
_LINES: dict[Form, Callable[[str, str], str]] = {
    Form.JSON: lambda key, via: f'{{"key": "{key}", "via": "{via}"}}',
    Form.NDJSON: lambda key, via: f'{{"key": "{key}", "via": "{via}"}}\n',
    Form.CSV: lambda key, via: f"{key},{via}\r\n",
    Form.TEXT: lambda key, via: f"\\{key} {via}\n" if key[0] == "#" else f"{key} {via}\n",
}
_HEADS = {Form.JSON: '{"entries": [\n', Form.CSV: "key,via\r\n"}
_TAILS = {Form.JSON: "\n]}\n"}
_BETWEEN = {Form.JSON: ",\n"}


def exported(entries: TableEntries, form: Form) -> Iterator[bytes]:
    """The file, in parts; each takes some milliseconds to make, the first one as long as sorting.

    Read by an import of the same form it gives the same entries.
    """
    line, between = _LINES[form], _BETWEEN.get(form, "")
    texts: dict[int, str] = {}
    ahead = _HEADS.get(form, "")
    keys = iter(in_order(tuple(entries)))
    while part := list(islice(keys, _ROWS)):
        rows = (line(key, _text(entries[key], texts)) for key in part)
        yield (ahead + between.join(rows)).encode("ascii")
        ahead = between
    ahead = "" if len(entries) else _HEADS.get(form, "")
    yield (ahead + _TAILS.get(form, "")).encode("ascii")


def _text(hop: EntryHop, texts: dict[int, str]) -> str:
    """The text of a next hop; of many entries few differ."""
    text = texts.get(id(hop))
    if text is None:
        if len(texts) >= _KEPT_TEXTS:
            texts.clear()
        text = texts[id(hop)] = str(hop)
    return text
