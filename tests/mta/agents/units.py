"""The documented units, and what a test must say otherwise: where the code and the parts are."""

import sys
from collections.abc import Iterator
from pathlib import Path

from tests.mta.agents.fleet import AGENT_LOG, MTA, PORT
from tests.mta.bed.namespace import Namespace
from tests.mta.bed.smtpd import CONF

_ROOT = Path(__file__).resolve().parents[3]
DOCUMENTED = _ROOT / "docs/systemd"
STATE_DIR = "/var/lib/relaymap-agent"

# The code may be in /tmp, of which the unit has one of its own: it is shown there, to be read.
_CODE = " ".join(dict.fromkeys(map(str, (_ROOT, sys.prefix))))
_AGENT_HERE = f"""\
[Service]
ExecStart=
ExecStart={sys.executable} -m app agent
WorkingDirectory={_ROOT}
BindReadOnlyPaths={_CODE}
ProtectHome=read-only
StandardError=append:{AGENT_LOG}
Environment=RELAYMAP_AGENT_SERVER=http://127.0.0.1:{PORT} RELAYMAP_AGENT_MTA={MTA}
Environment=RELAYMAP_AGENT_TOKEN_FILE=/run/agent/agent.token RELAYMAP_AGENT_SMTPD_CONF={CONF}
"""
_OPENSMTPD = """\
[Unit]
After=network.target
[Service]
Type=forking
ExecStart={program} -f {conf}
"""
_JOURNAL = (
    "systemd-journald.service",
    "systemd-journald.socket",
    "systemd-journald-dev-log.socket",
)
_INSTALLED = Path("/lib/systemd/system")
# A /dev of its own, in which journald makes the socket that daemons log to.
_DEV = """
set -e
mkdir -p /run/.dev
mount -t tmpfs -o mode=755 tmpfs /run/.dev
mkdir /run/.dev/shm /run/.dev/pts
for node in null zero full random urandom tty ptmx; do
  touch /run/.dev/$node
  mount --bind /dev/$node /run/.dev/$node
done
ln -s /proc/self/fd /run/.dev/fd
mount --move /run/.dev /dev
"""


def units(*documented: str, smtpd: str = "/usr/sbin/smtpd", agent: str = "") -> dict[str, str]:
    """The units of a machine, by file name.

    Args:
        documented: ours.
        smtpd: what the unit of smtpd starts; else that is as Debian's, but for the file.
        agent: lines for the section Service of the agent's unit.
    """
    found = {name: (DOCUMENTED / name).read_text("utf-8") for name in documented}
    found["opensmtpd.service"] = _OPENSMTPD.format(program=smtpd, conf=CONF)
    found["relaymap-agent.service.d/here.conf"] = _AGENT_HERE + agent
    return found


def journal(namespace: Namespace) -> dict[str, str]:
    """The units of journald, as the machine outside has them, in a /dev that they may write to."""
    namespace.run(["sh", "-c", _DEV])
    return dict(_journal())


def _journal() -> Iterator[tuple[str, str]]:
    for name in _JOURNAL:
        yield name, (_INSTALLED / name).read_text("utf-8")
