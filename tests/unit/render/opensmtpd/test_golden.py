"""Rendered files, byte for byte, as people read them; and each read back as its model."""

import pytest

from app.render.opensmtpd.read_back import check_read_back
from tests.golden.cases import Case, cases

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_is_rendered_as_it_is_written_down(case: Case) -> None:
    found = {file.name: file.content for file in case.render().files}
    assert found == case.expected(), "python -m tests.golden.cases writes them anew: read the diff"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_reads_back_as_its_model(case: Case) -> None:
    check_read_back(case.table, case.secrets, case.render(), case.target)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_files_are_for_the_group_of_the_daemon_and_one_is_secret(case: Case) -> None:
    for file in case.render().files:
        assert file.mode == 0o640
        assert file.secret == (file.name == "credentials")
        assert file.secret == (b"password" in file.content or b"pass:" in file.content)


def test_there_is_a_case_for_everything_that_is_promised() -> None:
    assert len(CASES) >= 8
