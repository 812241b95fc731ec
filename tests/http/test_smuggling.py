"""A request whose end is in doubt is refused whole, and nothing behind it is taken for a second."""

import pytest

from tests.http.raw import statuses
from tests.http.servers import Server

REFUSED = {
    "a NUL in a header": "X: a\0b",
    "a bare CR in a header": "X: a\rb",
    "a folded header": "X: a\r\n b",
    "a header that ends in a bare LF": "X: a\nContent-Length: 3",
    "two lengths": "Content-Length: 5\r\nContent-Length: 6",
    "two lengths in one header": "Content-Length: 5, 6",
    "a negative length": "Content-Length: -1",
    "a signed length": "Content-Length: +5",
    "a hexadecimal length": "Content-Length: 0x5",
    "a space before the colon": "Content-Length : 5",
    "a length and chunks": "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "chunks that are not the last encoding": "Transfer-Encoding: chunked, identity",
    "an encoding that nobody knows": "Transfer-Encoding: xchunked",
    "a length beyond what is taken": "Content-Length: 99999999999",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_of_doubtful_length_is_refused_and_the_connection_closed(
    name: str, server: Server
) -> None:
    expected = 413 if name == "a length beyond what is taken" else 400
    assert statuses(server, REFUSED[name]) == [expected]


def test_two_plain_requests_get_two_answers(server: Server) -> None:
    assert statuses(server, "Content-Length: 0\r\nX: a") == [401, 200]
