"""One look at one relay: can mail be handed to it, and if not, why not.

It resolves, connects, greets, begins TLS as the relay's URL demands, logs in where that is asked
for, and leaves. It never begins to send a message.
"""

import asyncio
import errno
import functools
import re
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path

from app.agent.dialogue import MAX_LINE, Dialogue, Fails
from app.routing.errors import ControlError
from app.routing.names import IPAddress
from app.routing.relay_url import TLS, Protocol, RelayURL
from app.wire import Cause, RelayHealth

LIMIT_S = 10.0
MAX_ADDRESSES = 16
_SYSTEM_CAS = Path("/etc/ssl/certs/ca-certificates.crt")
"""What smtpd checks by where no CA is named."""
_OURS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
_CAUSES = {
    errno.ECONNREFUSED: Cause.REFUSED,
    errno.ECONNRESET: Cause.REFUSED,
    errno.ETIMEDOUT: Cause.TIMEOUT,
}
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
_RESOLVING = ThreadPoolExecutor(16, "resolve")
"""Of our own: a name server that does not answer must not keep other work of the agent waiting."""

Networks = Sequence[IPv4Network | IPv6Network]


class CannotProbe(ControlError):
    """Something of this machine is in the way, which says nothing about the relay."""

    code = "cannot-probe"
    temporary = True


@dataclass(frozen=True, slots=True)
class Found:
    """What a look found.

    Attributes:
        state: `unknown` where the relay has an address that is not to be probed.
        cause: why it is down; None where it is not.
        reply: the SMTP reply code that said so, if one did.
        addresses: of the relay's host, all of them.
    """

    state: RelayHealth
    cause: Cause | None = None
    reply: int | None = None
    addresses: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Prober:
    """How this machine looks at relays.

    Attributes:
        limit_s: seconds for one look, resolving included.
        leave_out: networks that are not probed.
    """

    limit_s: float = LIMIT_S
    leave_out: Networks = ()

    async def __call__(
        self,
        url: RelayURL,
        *,
        verify: bool | None = None,
        ca_file: Path | None = None,
        login: tuple[str, str] | None = None,
    ) -> Found:
        """Look, as `probe` does."""
        return await probe(
            url,
            verify=verify,
            ca_file=ca_file,
            login=login,
            limit_s=self.limit_s,
            leave_out=self.leave_out,
        )


async def probe(
    url: RelayURL,
    *,
    verify: bool | None = None,
    ca_file: Path | None = None,
    login: tuple[str, str] | None = None,
    limit_s: float = LIMIT_S,
    leave_out: Networks = (),
) -> Found:
    """Look at a relay.

    A name with several addresses is one relay, which smtpd tries one address after the other: it
    is up if one of them is, and down if all of them were looked at and none is.

    Args:
        url: the relay.
        verify: whether its certificate is checked; None: as smtpd does, where TLS is mandatory.
        ca_file: what it is checked by; None: the system's CAs.
        login: user and password to try, where TLS is mandatory.
        limit_s: seconds for all of it.
        leave_out: networks that are not probed, beside link-local and multicast ones.

    Raises:
        CannotProbe: this machine could not.
    """
    if login is not None and not url.tls.mandatory:
        raise CannotProbe("a login is only tried over mandatory TLS")
    context = _context(url.tls.mandatory and verify is not False, ca_file)
    clock = asyncio.get_running_loop().time
    end = clock() + limit_s
    try:
        async with asyncio.timeout(limit_s):
            addresses = await _resolve(url)
    except TimeoutError:
        addresses = ()
    if not addresses:
        return Found(RelayHealth.DOWN, Cause.NO_ADDRESS)
    look_at = [each for each in addresses if not _is_left_out(each, leave_out)]
    first: Fails | None = None
    for position, address in enumerate(look_at):
        share_s = (end - clock()) / (len(look_at) - position)
        try:
            await _look(url, address, context, login, share_s)
        except Fails as fails:
            first = first or fails
        else:
            return Found(RelayHealth.UP, addresses=addresses)
    if first is None or len(look_at) < len(addresses):
        return Found(RelayHealth.UNKNOWN, addresses=addresses)
    return Found(RelayHealth.DOWN, first.cause, first.reply, addresses)


async def _resolve(url: RelayURL) -> tuple[IPAddress, ...]:
    host = url.host.strip("[]")
    try:
        return (ip_address(host),)
    except ValueError:
        ask = functools.partial(
            socket.getaddrinfo, host, url.effective_port, type=socket.SOCK_STREAM
        )
    try:
        found = await asyncio.get_running_loop().run_in_executor(_RESOLVING, ask)
    except (OSError, UnicodeError):
        return ()
    texts = dict.fromkeys(str(row[4][0]).partition("%")[0] for row in found)
    return tuple(ip_address(text) for text in texts)[:MAX_ADDRESSES]


def _is_left_out(address: IPAddress, leave_out: Networks) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return _is_left_out(address.ipv4_mapped, leave_out)
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or any(address in network for network in leave_out)
    )


async def _look(
    url: RelayURL,
    address: IPAddress,
    context: ssl.SSLContext,
    login: tuple[str, str] | None,
    limit_s: float,
) -> None:
    """Look at one address of a relay, the one that was found to be allowed.

    Raises:
        Fails: mail cannot be handed to it.
        CannotProbe: this machine could not.
    """
    dialogue: Dialogue | None = None
    try:
        async with asyncio.timeout(limit_s):
            dialogue = await _connect(address, url.effective_port)
            await _converse(dialogue, url, context, login)
    except TimeoutError:
        raise Fails(Cause.TIMEOUT if dialogue is None else dialogue.silence) from None
    finally:
        if dialogue is not None:
            dialogue.drop()


async def _connect(address: IPAddress, port: int) -> Dialogue:
    try:
        return Dialogue(*await asyncio.open_connection(str(address), port, limit=MAX_LINE))
    except TimeoutError:
        raise Fails(Cause.TIMEOUT) from None
    except OSError as error:
        if error.errno in _OURS:
            raise CannotProbe(error.strerror or "no reason given") from error
        raise Fails(_CAUSES.get(error.errno or 0, Cause.UNREACHABLE)) from error


async def _converse(
    dialogue: Dialogue, url: RelayURL, context: ssl.SSLContext, login: tuple[str, str] | None
) -> None:
    host, name, lmtp = url.host.strip("[]"), _own_name(), url.protocol is Protocol.LMTP
    if url.tls is TLS.SMTPS:
        await dialogue.tls(context, host, Cause.NOT_SMTP)
    await dialogue.greeting()
    extensions = await dialogue.hello(name, lmtp=lmtp)
    if url.tls is TLS.STARTTLS and "STARTTLS" not in extensions:
        raise Fails(Cause.STARTTLS_MISSING)
    if url.tls is TLS.STARTTLS:
        await dialogue.start_tls(context, host)
        extensions = await dialogue.hello(name, lmtp=lmtp)
    if login is not None:
        await dialogue.log_in(extensions, login)
    # Where TLS is opportunistic, mail goes without it if it cannot be had: it is not tried.
    await dialogue.leave()


def _own_name() -> str:
    """How we call ourselves: by the host's name, where that can be one."""
    name = socket.gethostname()
    return name if _NAME.fullmatch(name) else "[127.0.0.1]"


def _context(verify: bool, ca_file: Path | None) -> ssl.SSLContext:  # noqa: FBT001  not public
    path = ca_file or _SYSTEM_CAS
    if not verify:
        return _made_context(None, 0)
    try:
        return _made_context(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        if ca_file is None:
            return _made_context(Path(), 0)
        raise CannotProbe(f"the file of the CA is not there: {ca_file}") from None
    except (ssl.SSLError, PermissionError) as error:
        raise CannotProbe(f"the file of the CA cannot be read: {path}") from error


@functools.lru_cache(64)
def _made_context(cas: Path | None, _changed: int) -> ssl.SSLContext:
    """What is asked of a peer; None: nothing, and the oldest TLS that can be had will do."""
    if cas is None:
        lax = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        lax.check_hostname = False
        lax.verify_mode = ssl.CERT_NONE
        lax.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        lax.set_ciphers("ALL:@SECLEVEL=0")
        return lax
    context = ssl.create_default_context(cafile=cas if cas.name else None)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # smtpd does not ask for it
    return context
