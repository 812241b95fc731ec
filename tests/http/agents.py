"""An agent that speaks the wire and does what the test says; the real one is tested elsewhere."""

from typing import Self

import httpx

from app.wire import (
    Have,
    LineState,
    MtaState,
    Observed,
    PushReport,
    Reload,
    Report,
    Wanted,
)


class Agent:
    """Asks and tells for one MTA, as `app.agent` does."""

    def __init__(self, api: httpx.AsyncClient, token: str, name: str = "agent-1") -> None:
        self._api = api
        self._headers = {"Authorization": f"Bearer {token}"}
        self.name = name
        self.known = 0
        self.observed: Observed | None = None
        self.have: Have | None = None
        self.version: str | None = "7.8.0"

    @classmethod
    async def of(cls, api: httpx.AsyncClient, mta: str, name: str = "agent-1") -> Self:
        """The agent of an MTA that is made for it."""
        (await api.put(f"/v1/mtas/{mta}", json={})).raise_for_status()
        made = await api.post(f"/v1/mtas/{mta}/token")
        assert made.status_code == 201
        return cls(api, made.json()["token"], name)

    async def ask(self, wait: int = 0) -> Wanted | None:
        """What is wanted, if it is news."""
        params: dict[str, str | int] = {"known": self.known, "wait": wait}
        if self.have is not None:
            params["have"] = str(self.have)
        answer = await self._api.get("/v1/agent/wanted", params=params, headers=self._headers)
        if answer.status_code == 204:
            return None
        assert answer.status_code == 200, answer.text
        return Wanted.model_validate_json(answer.content)

    async def tell(self, said: PushReport | None = None, **more: object) -> httpx.Response:
        """Report what is seen."""
        report = Report.model_validate(
            {
                "agent": self.name,
                "state": MtaState.LIVE,
                "observed": self.observed,
                "version": self.version,
                "push": said,
                **more,
            }
        )
        return await self._api.post(
            "/v1/agent/reports",
            content=report.model_dump_json(),
            headers={**self._headers, "Content-Type": "application/json"},
        )

    async def begin(self, wanted: Wanted) -> None:
        """Report that an apply began."""
        said = PushReport(push=wanted.push, state=LineState.APPLYING, reload=Reload.NONE)
        assert (await self.tell(said)).status_code == 204

    async def end(
        self, wanted: Wanted, state: LineState, reload: Reload = Reload.RESTART, detail: str = ""
    ) -> None:
        """Report how an apply ended; where it was applied, it is seen in force."""
        if state is LineState.APPLIED:
            self.observed = Observed(
                history=wanted.history,
                revision=wanted.revision,
                model_digest=wanted.model_digest,
                files_digest="f" * 64,
            )
        self.known = wanted.push
        said = PushReport(push=wanted.push, state=state, reload=reload, detail=detail)
        assert (await self.tell(said)).status_code == 204

    async def apply(self, wait: int = 5) -> Wanted:
        """Take what is wanted and apply it."""
        wanted = await self.ask(wait)
        assert wanted is not None
        await self.begin(wanted)
        await self.end(wanted, LineState.APPLIED)
        return wanted
