"""The README's table of settings names every setting, and neither it nor the image another one."""

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from app.settings import AgentSettings, ServerSettings

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"\bRELAYMAP_[A-Z0-9_]*[A-Z0-9]\b")
OF_RESOLVE = "RELAYMAP_SERVER"  # the command line's `--server`
NOT_OF_A_PROCESS = {
    OF_RESOLVE,
    "RELAYMAP_REQUIRE_ALL",  # the tests': no skip is allowed
    "RELAYMAP_SOAK_KILLS",  # the tests': how often something is killed
    "RELAYMAP_SOAK_ENTRIES",  # and among how many entries something is changed
    "RELAYMAP_SOAK_CASES",  # and how many routings are made up and edited
}


def variables(settings: type[BaseSettings]) -> set[str]:
    prefix = settings.model_config.get("env_prefix") or ""
    return {
        str(field.validation_alias or f"{prefix}{name}").upper()
        for name, field in settings.model_fields.items()
    }


KNOWN = variables(ServerSettings) | variables(AgentSettings)


def test_settings_are_found() -> None:
    assert {"RELAYMAP_STATE_DIR", "RELAYMAP_AGENT_STATE_DIR"} <= KNOWN


@pytest.mark.parametrize("variable", sorted({*KNOWN, OF_RESOLVE}))
def test_the_readme_has_a_row_for_every_setting(variable: str) -> None:
    rows = [
        line.split("|")[1]
        for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    assert any(f"`{variable}`" in first_cell for first_cell in rows)


@pytest.mark.parametrize(
    "document", ["README.md", "docs/systemd/README.md", "Dockerfile", "Makefile"]
)
def test_a_document_names_no_setting_that_is_not_there(document: str) -> None:
    named = set(VARIABLE.findall((ROOT / document).read_text(encoding="utf-8")))
    assert named - KNOWN - NOT_OF_A_PROCESS == set()
