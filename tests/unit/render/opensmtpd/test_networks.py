"""Networks less networks are the same addresses, said with the fewest lines."""

from ipaddress import ip_address, ip_network
from random import Random

import pytest

from app.render.opensmtpd.networks import ClientList, client_list, less
from app.routing.conditions import Clients
from app.routing.names import IPAddress

SEED = 4


def clients(*texts: str) -> Clients:
    return Clients.parse(texts)


def lines(positive: Clients, negative: Clients, *own: str) -> list[str]:
    addresses = [ip_address(text) for text in own]
    return less(client_list(positive, addresses), client_list(negative, addresses)).lines()


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        (["192.0.2.0/24"], ["192.0.2.128/25"], ["192.0.2.0/25"]),
        (["192.0.2.0/24"], ["192.0.2.0/23"], []),
        (["192.0.2.0/30"], ["192.0.2.1"], ["192.0.2.0", "192.0.2.2/31"]),
        (["192.0.2.0/25", "192.0.2.128/25"], ["2001:db8::/32"], ["192.0.2.0/24"]),
        (["2001:db8::/126"], ["2001:db8::1"], ["2001:db8::", "2001:db8::2/127"]),
        (["local"], ["127.0.0.0/8"], ["local", "203.0.113.5", "::1"]),
        (["local", "192.0.2.1"], ["local"], ["192.0.2.1"]),
        (["127.0.0.0/30"], ["local"], ["127.0.0.0", "127.0.0.2/31"]),
        (["203.0.113.4/31"], ["local"], ["203.0.113.4"]),
    ],
)
def test_what_is_left_is_listed(
    positive: list[str], negative: list[str], expected: list[str]
) -> None:
    assert lines(clients(*positive), clients(*negative), "203.0.113.5") == expected


def test_local_alone_in_a_list_would_be_the_socket_so_its_addresses_stand_beside_it() -> None:
    assert client_list(clients("local"), [ip_address("203.0.113.5")]).lines() == [
        "local",
        "127.0.0.1",
        "203.0.113.5",
        "::1",
    ]


def some_networks(random: Random) -> list[str]:
    bases = ("192.0.2.", "192.0.3.")
    return [
        f"{random.choice(bases)}{random.randrange(256)}/{random.randint(23, 32)}"
        for _ in range(random.randint(0, 6))
    ]


def holds(listed: ClientList, address: IPAddress) -> bool:
    return any(address in network for network in listed.networks)


def test_random_differences_hold_for_just_the_addresses_of_one_side() -> None:
    random = Random(SEED)
    addresses = [*ip_network("192.0.2.0/23")]
    for _ in range(60):
        one, two = some_networks(random), some_networks(random)
        first, second = client_list(clients(*one), ()), client_list(clients(*two), ())
        left = less(first, second)
        for address in addresses:
            expected = holds(first, address) and not holds(second, address)
            assert holds(left, address) == expected, f"seed {SEED}: {one} less {two}, {address}"
