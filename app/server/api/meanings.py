"""What each code of a problem means: its title, and what its page under /problems/ says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code means: the title of its problems, and what its page says."""

    title: str
    text: str


MEANINGS: dict[str, Meaning] = {
    "invalid": Meaning(
        "The request is refused",
        "Something in the path, query, headers or body is not what is wanted there. `errors`"
        " lists every finding with its place and a code; none of it was stored.",
    ),
    "name-differs": Meaning(
        "The body names something else than the path",
        "Leave `name` out of the body, or write the one of the path. To rename, create the new"
        " one, change what uses the old one, and delete that.",
    ),
    "patch-relays-one-by-one": Meaning(
        "Relays are patched one by one",
        "A merge patch replaces lists whole (RFC 7396), which would delete relays. PUT, PATCH or"
        " DELETE /v1/relay-maps/{map}/relays/{relay} changes one; PUT of the map replaces all.",
    ),
    "credential-not-for-host": Meaning(
        "The credential is not for that host",
        "A relay URL names a label whose credential does not list the URL's host. Whoever may"
        " write credentials can add it to `hosts`.",
    ),
    "not-json": Meaning(
        "The body is not JSON",
        "Bodies are UTF-8 JSON (RFC 8259) without a byte order mark, NaN, members named twice, or"
        " more than 20 levels.",
    ),
    "not-found": Meaning("There is nothing there", "No resource of that name, or no such path."),
    "method-not-allowed": Meaning(
        "The path does not take this method", "The Allow header lists those that it takes."
    ),
    "exists": Meaning(
        "That name is taken",
        "POST and If-None-Match: * only create. PUT without it creates or replaces.",
    ),
    "in-use": Meaning(
        "It is in use", "`users` names up to 20 of those that use it, `more` counts the others."
    ),
    "revision-moved": Meaning(
        "It was changed meanwhile",
        "The precondition names another revision than `current`. Read again and decide anew.",
    ),
    "limit-reached": Meaning(
        "There are as many as are promised to work", "Delete some, or tell us what you need."
    ),
    "credential-missing": Meaning(
        "The revision needs credentials that are gone or not allowed",
        "`errors` lists each label. Store those credentials, then restore again.",
    ),
    "revision-pruned": Meaning("That revision was pruned", "The settings say how many are kept."),
    "not-expressible": Meaning(
        "The MTA cannot do this", "`errors` names each rule and the reason. Nothing was changed."
    ),
    "import-refused": Meaning(
        "Lines of the file cannot be taken",
        "`errors` and `report` name the first hundred by line; in JSON, by item. Nothing of the"
        " file was stored. Correct them, or send it with `on_error=skip`, which leaves them out.",
    ),
    "too-many-deletes": Meaning(
        "The file leaves out too many entries",
        "`mode=replace` deletes what the file does not name, and a file that was cut short would"
        " delete nearly everything. A tenth of the entries may go unless `max_deletes` says"
        " otherwise. Nothing was stored.",
    ),
    "imports-busy": Meaning(
        "Other imports go on",
        "The entries of a file are kept in memory until they are stored, so few files are read at"
        " once. Send it again after Retry-After seconds.",
    ),
    "unauthenticated": Meaning(
        "A token is needed", "Send `Authorization: Bearer rly_…` with a token that is valid."
    ),
    "missing-scope": Meaning(
        "The token may not do this", "The answer names the scope; no scope implies another."
    ),
    "bad-host": Meaning(
        "The Host header names somebody else",
        "The server answers to the names in RELAYMAP_ALLOWED_HOSTS only.",
    ),
    "bad-request": Meaning("The request is malformed", "Its detail says how."),
    "body-too-large": Meaning(
        "The body is too large", "Bodies hold at most 1 MiB, a line of a stream 64 KiB."
    ),
    "bad-media-type": Meaning(
        "The body is of a type that is not taken here",
        "Send JSON as application/json (`curl --json`), uncompressed. PATCH takes"
        " application/merge-patch+json too.",
    ),
    "nothing-matches": Meaning(
        "Nothing can match that",
        "MTAs have no entity tag. `If-Match: *` asks that the MTA is there; nothing else is met.",
    ),
    "precondition-needed": Meaning(
        "If-Match is needed", "This server's settings demand it of every write (RFC 6585)."
    ),
    "last-admin": Meaning(
        "Nobody could make tokens any more", "Make another token with tokens:admin first."
    ),
    "another-agent": Meaning(
        "Two agents report for one MTA", "Stop one of them, or give it an MTA of its own."
    ),
    "mta-never-seen": Meaning(
        "No agent has reported for this MTA",
        "Its version and paths are not known yet. `?version=` does without.",
    ),
    "nothing-confirmed": Meaning(
        "Which routing the MTA serves is not known",
        "With `mta` a question is answered by the revision that the agent of that MTA saw in force."
        " Push to it first, or leave `mta` out to ask the newest routing.",
    ),
    "no-mta": Meaning("There is no MTA to push to", "Put one to /v1/mtas first."),
    "push-refused": Meaning(
        "An MTA does not take what was pushed",
        "`push` has a line for each MTA and why. What it served before, it serves still.",
    ),
    "push-rolled-back": Meaning(
        "An MTA was put back to what it served before",
        "It did not serve with what was pushed; `push` says why.",
    ),
    "push-failed": Meaning(
        "An agent could not begin", "Nothing was changed there, and it is tried again by itself."
    ),
    "push-unfinished": Meaning(
        "The push is not applied everywhere yet",
        "GET the push again. An MTA whose agent is not heard of keeps it waiting.",
    ),
    "storage-damaged": Meaning(
        "What was read from the database is not what was written", "The log says more."
    ),
    "storage-trouble": Meaning("The database cannot serve now", "Try again after Retry-After."),
    "storage-busy": Meaning("The database is held by another process", "Try again."),
    "storage-full": Meaning("No space is left for the database", "Nothing was stored."),
    "storage-away": Meaning("The database cannot be reached", "Try again after Retry-After."),
    "head-moved": Meaning("Another process wrote at the same time", "Try again."),
    "outcome-unknown": Meaning(
        "Whether the write was stored is not known", "Read before you try again."
    ),
    "unavailable": Meaning(
        "The server cannot do it now", "Our own trouble. Try again after Retry-After seconds."
    ),
    "internal": Meaning(
        "The server failed", "Our fault. The log has the cause under the request id."
    ),
}
"""Every code that a problem may have, for /problems/{code}."""
