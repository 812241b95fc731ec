"""HAProxy that answers from a map over HTTP, unpacked and not installed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.servers import Server, free_port, running
from bench.unpacked import unpacked

_PACKAGES = ("haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1")
_CONFIGURATION = """\
global
  nbthread 1
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
frontend asked
  bind 127.0.0.1:{port}
  http-request return status 200 content-type text/plain lf-string "%[url_param(key),map({map},none)]"
"""


@contextmanager
def haproxy(folder: Path, of_key: Mapping[str, str]) -> Iterator[Server]:
    """It answers `GET /?key=KEY` with what the key leads to.

    Raises:
        NotFetched: the packages cannot be had.
    """
    root = unpacked(*_PACKAGES)
    port, file = free_port(), folder / "haproxy.map"
    file.write_text("".join(f"{key} {value}\n" for key, value in of_key.items()), "ascii")
    configuration = folder / "haproxy.cfg"
    configuration.write_text(_CONFIGURATION.format(port=port, map=file), "ascii")
    command = [str(root.program("haproxy")), "-db", "-f", str(configuration)]
    with running(command, root.environment(), port) as process:
        yield Server(process, port, "")
