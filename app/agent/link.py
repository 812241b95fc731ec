"""The way to the server: ask what is wanted, tell what is seen, and never depend on an answer."""

import json
import random
from pathlib import Path

import httpx
from pydantic import ValidationError

from app.routing.errors import ControlError
from app.wire import Have, Report, Wanted

POLL_S = 50
"""How long the server may wait with an answer; proxies tend to cut at 60 s."""
_CONNECT_LIMIT_S = 10.0
_ANSWER_LIMIT_S = 30.0
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
_MAX_TOKEN = 1024
_MAX_ANSWER = 1 << 30
"""Octets: more than any model within the promised limits, less than the MTA's whole memory."""


class LinkDown(ControlError):
    """The server was not reached, or has trouble of its own."""

    code = "link-down"
    temporary = True


class LinkRefused(ControlError):
    """The server does not want to speak with us: the token, the MTA's name, another agent."""

    code = "link-refused"
    temporary = True


class Backoff:
    """How long to wait before the next try: longer each time, and never two agents alike."""

    def __init__(self) -> None:
        self._wait_s = _FIRST_WAIT_S

    def reset(self) -> None:
        """It worked."""
        self._wait_s = _FIRST_WAIT_S

    def next_s(self) -> float:
        """It did not: seconds until the next try."""
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, _LONGEST_WAIT_S)
        return wait_s * random.uniform(0.5, 1.0)  # noqa: S311  spreads agents, guards nothing


class Link:
    """One server, spoken to with the token in a file."""

    def __init__(self, server: str, token_file: Path, max_answer: int = _MAX_ANSWER) -> None:
        self._token_file = token_file
        self._max_answer = max_answer
        limits = httpx.Timeout(_ANSWER_LIMIT_S, connect=_CONNECT_LIMIT_S)
        # No proxy and no .netrc from the environment: both would see the token.
        self._http = httpx.AsyncClient(base_url=server, timeout=limits, trust_env=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def wanted(
        self, known: int, wait_s: int = POLL_S, have: Have | None = None
    ) -> Wanted | None:
        """What the MTA is to serve, if that is news; None if nothing was within `wait_s` seconds.

        `known` is the newest push that we remember. With `have`, the model that we have, the answer
        may be what has to be done to that one.

        Raises:
            LinkDown, LinkRefused: nothing was learnt.
        """
        status, content = await self._ask(
            "GET",
            "/v1/agent/wanted",
            params={"known": known, "wait": wait_s} | ({} if have is None else {"have": str(have)}),
            timeout=httpx.Timeout(wait_s + _ANSWER_LIMIT_S, connect=_CONNECT_LIMIT_S),
        )
        if status == httpx.codes.NO_CONTENT:
            return None
        try:
            return Wanted.model_validate_json(content)
        except ValidationError as error:
            # The error itself quotes what was sent, and passwords are among that.
            raise LinkRefused(_misunderstood(error)) from None

    async def report(self, report: Report) -> None:
        """Tell what we see.

        Raises:
            LinkDown, LinkRefused: the server has not taken note of it.
        """
        body = report.model_dump_json().encode()
        headers = {"Content-Type": "application/json"}
        await self._ask("POST", "/v1/agent/reports", content=body, headers=headers)

    async def _ask(self, method: str, path: str, **more: object) -> tuple[int, bytearray]:
        """The status and the body of an answer that is no error.

        Raises:
            LinkDown, LinkRefused: there is none.
        """
        # As it is: a compressed answer might be a hundred times what is counted on the way.
        headers = {"Authorization": f"Bearer {self._token()}", "Accept-Encoding": "identity"}
        headers |= more.pop("headers", {})  # type: ignore[call-overload]
        try:
            async with self._http.stream(method, path, headers=headers, **more) as answer:  # type: ignore[arg-type]
                content = await self._content(answer)
        except httpx.HTTPError as error:
            raise LinkDown(f"the server was not reached: {type(error).__name__}") from error
        if answer.is_success:
            return answer.status_code, content
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise LinkDown(f"the server has trouble: {answer.status_code}")
        raise LinkRefused(
            f"the server refuses: {answer.status_code} {_title(content) or answer.reason_phrase}"
        )

    async def _content(self, answer: httpx.Response) -> bytearray:
        content = bytearray()
        async for part in answer.aiter_raw():
            content += part
            if len(content) > self._max_answer:
                raise LinkRefused(f"the server's answer is longer than {self._max_answer} octets")
        return content

    def _token(self) -> str:
        """The token, read anew each time: it may be rotated under us."""
        try:
            token = self._token_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise LinkRefused(f"no token can be read from {self._token_file}") from error
        if not 0 < len(token) <= _MAX_TOKEN or not token.isprintable():
            raise LinkRefused(f"there is no token in {self._token_file}")
        return token


def _misunderstood(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    where = ".".join(str(part) for part in found[0]["loc"])
    return f"the server's answer is not understood, at {where}"


def _title(content: bytearray) -> str:
    """The `detail` of a problem (RFC 9457), as much of it as fits a log line; "" if it is none."""
    try:
        problem = json.loads(content)
    except (ValueError, RecursionError):  # whoever stands between us and the server may say it
        return ""
    said = problem.get("detail") if isinstance(problem, dict) else None
    return said[:200] if isinstance(said, str) else ""
