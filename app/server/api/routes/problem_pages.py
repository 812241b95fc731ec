"""The page that the `type` of a problem names: what its code means."""

from html import escape
from typing import Annotated

from fastapi import Path, Response
from fastapi.responses import HTMLResponse

from app.routing.errors import Unknown
from app.server.api.meanings import MEANINGS
from app.server.api.problems import responses
from app.server.api.v1 import open_router

router = open_router("server")

_PAGE = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{code}: {title}</title></head>
<body>
<h1>{title}</h1>
<p>Code: <code>{code}</code></p>
<p>{text}</p>
</body>
</html>
"""
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@router.get(
    "/problems/{code}",
    summary="What does a problem mean?",
    response_class=HTMLResponse,
    responses=responses(404),
)
async def get_problem_page(
    code: Annotated[str, Path(description="`code` of a problem.", examples=["in-use"])],
) -> Response:
    """A page for people: the meaning of a code and what to do."""
    if code not in MEANINGS:
        raise Unknown("problem code")
    meaning = MEANINGS[code]
    page = _PAGE.format(code=code, title=escape(meaning.title), text=escape(meaning.text))
    headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(page, headers=headers)
