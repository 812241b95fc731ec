"""The OpenAPI document, and Swagger UI from local files: not one request leaves the machine."""

from pathlib import Path as File

import fastapi_offline
from fastapi import Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from app.routing.errors import Unknown
from app.server.api.v1 import Line, open_router

router = open_router("server", in_schema=False)

STATIC = File(fastapi_offline.__file__).parent / "static"
FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Nothing from elsewhere. Swagger UI writes style attributes, so those are let in."""

_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Relaymap API</title>
<link rel="icon" href="/docs/favicon.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """\
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""


@router.get("/openapi.json")
async def get_openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return Line(request.app.openapi())


@router.get("/docs")
async def get_docs() -> Response:
    """Swagger UI."""
    return HTMLResponse(_PAGE, headers=_HEADERS)


@router.get("/docs/start.js")
async def get_docs_start() -> Response:
    """What starts Swagger UI: a file, so that the page needs no inline script."""
    return Response(_START, headers=_HEADERS, media_type="text/javascript")


@router.get("/docs/{name}")
async def get_docs_file(name: str) -> Response:
    """A file of Swagger UI. Raises Unknown."""
    if name not in FILES:
        raise Unknown("file")
    return FileResponse(STATIC / name, headers=_HEADERS, media_type=FILES[name])
