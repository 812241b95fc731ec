"""What routing no longer has while mail is queued for it: it goes on leading where it did."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.routing.decision import needed
from app.routing.next_hop import parse_entry_hop
from app.routing.routing_table import EMPTY
from app.table_program.answers import Relays
from app.table_program.channel import Answer, Question
from app.table_program.main import Turns
from tests.unit.routing.making import routing
from tests.unit.table_program import asking

ASKED = Question("lookup", "relayhost", "dst.test", "01")


@pytest.mark.io
@pytest.mark.parametrize("at_once", [True, False])
def test_a_retired_table_leads_to_its_maps_though_they_are_gone_as_well(
    tmp_path: Path, *, at_once: bool
) -> None:
    whole = routing(
        {
            "maps": {"pool": {"policy": "failover", "relays": ["smtp://192.0.2.1"]}},
            "tables": {"bydom": {"key": "recipient-domain"}},
            "rules": [{"match": {}, "action": "table:bydom"}],
        }
    )
    whole = replace(whole, entries={"bydom": {"dst.test": parse_entry_hop("map:pool")}})
    # An agent writes what may be decided for, and leaves out what stands in reserve.
    first = replace(asking.content(whole), actions=tuple(needed(whole, {}).values()))
    steps = [EMPTY] if at_once else [replace(EMPTY, maps=whole.maps), EMPTY]
    with asking.writer(tmp_path) as file:
        file.write(first)
        for revision, table in enumerate(steps, start=2):
            file.write(replace(asking.content(table, revision), names=first.names))
        assert (file.routing().maps, file.routing().tables) == ({}, {})
    assert relay_of(tmp_path) == "smtp://192.0.2.1:25"
    asking.write(tmp_path, asking.content(EMPTY, 9))
    with asking.writer(tmp_path) as file:
        assert not file.structure().maps
    assert relay_of(tmp_path) is False


def relay_of(state_dir: Path) -> Answer:
    """What a program that starts now answers for the action of the table."""
    file = asking.reader(state_dir)
    try:
        return Relays(file, "rm-table-bydom", Turns().draw).answer(ASKED)
    finally:
        file.close()
