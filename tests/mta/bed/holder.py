"""Run as a script: make private namespaces, print the pid of their first process, hold them.

The first process ends when its standard input does, and the kernel then kills everything that
runs in its pid namespace: whoever holds the other end of the pipe may die in any way.
Standard library only, since it runs before anything can be imported from the project.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000  # unshare(2)
CLONE_NEWUTS = 0x04000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_NOSUID_NODEV = 0x2 | 0x4  # mount(2)
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
PR_SET_PDEATHSIG = 1  # prctl(2)

_libc = ctypes.CDLL(None, use_errno=True)


def _answer(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _mount(source: str | None, target: str, kind: str | None, flags: int, option: str = "") -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    status = _libc.mount(*texts, ctypes.c_ulong(flags), option.encode() or None)
    _answer(status, f"mount {target}")


def _separate() -> None:
    """Leave the mounts, network, host name and (for children) pids of the machine."""
    flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWPID | CLONE_NEWNET
    _answer(_libc.unshare(flags), "unshare")
    # In a chroot "/" is no mount point, so it cannot be made private by that name, and what is
    # mounted below could reach the machine outside. Joining one's own mount namespace leaves the
    # chroot; then everything can be made private, and the old root entered again.
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    mounts = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    _answer(_libc.setns(mounts, CLONE_NEWNS), "setns")
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    os.fchdir(root)
    os.chroot(".")
    os.chdir("/")
    os.close(root)
    os.close(mounts)


def _private_directories() -> None:
    """Give /proc, /run, /var/spool and /etc a content of their own; /etc starts as a copy."""
    _mount("proc", "/proc", "proc", MS_NOSUID_NODEV)
    for directory in ("/run", "/var/spool"):
        _mount("tmpfs", directory, "tmpfs", MS_NOSUID_NODEV, "mode=0755")
    etc = Path("/run/.etc")
    shutil.copytree("/etc", etc, symlinks=True, copy_function=_copy, dirs_exist_ok=True)
    _mount(str(etc), "/etc", None, MS_BIND)
    programs = Path("/usr/libexec/opensmtpd")  # where smtpd looks for table programs
    if programs.is_dir():
        shutil.copytree(programs, "/run/.programs", symlinks=True)
        _mount("/run/.programs", str(programs), None, MS_BIND)


def _copy(source: str, target: str) -> None:
    """Copy a file with its mode and its owner: daemons check who owns their keys."""
    shutil.copy2(source, target, follow_symlinks=False)
    state = os.lstat(source)
    os.lchown(target, state.st_uid, state.st_gid)


def _write(name: str, text: str) -> None:
    path = Path("/etc", name)
    path.unlink(missing_ok=True)  # it may be a link to what /run no longer has
    path.write_text(text, encoding="ascii")


def _network(own: list[str], foreign: list[str]) -> None:
    """Raise lo with its own addresses, and with networks that can be bound but are not its own.

    A `local` route lets any address of a network be bound and reached, without that network
    being an address of an interface: just what a client from elsewhere looks like to a daemon.
    """
    # IPv6 asks for an interface address at bind(2) unless told not to.
    Path("/proc/sys/net/ipv6/ip_nonlocal_bind").write_text("1", encoding="ascii")
    commands = ["link set lo up"]
    commands += [f"addr add {address} dev lo" for address in own]
    commands += [f"route add local {network} dev lo" for network in foreign]
    # A message is two small writes; without this its second waits 40 ms for a delayed ACK.
    for loopback in ("127.0.0.0/8", "127.0.0.1"):
        route = f"route replace table local local {loopback} dev lo src 127.0.0.1 quickack 1"
        commands.append(route)
    subprocess.run(
        ["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True, timeout=30
    )


def _first_process(settings: dict[str, object]) -> None:
    """Be the init of the new pid namespace: set it up, say so, wait for the end of input."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _private_directories()
    name = str(settings["host_name"])
    _answer(_libc.sethostname(name.encode(), len(name)), "sethostname")
    _write("hostname", f"{name}\n")
    _write("mailname", f"{name}\n")
    _write("hosts", str(settings["hosts"]))
    _write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
    _network(list(settings["own"]), list(settings["foreign"]))  # type: ignore[call-overload]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans are reaped by the kernel
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while os.read(0, 4096):
        pass


def main() -> None:
    """Read the settings from the first argument; print the pid, then `ready`; end with stdin."""
    settings = json.loads(sys.argv[1])
    _separate()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(told, 1)  # else, where the machine is busy, it may be ready before its pid is said
        _first_process(settings)
        os._exit(0)
    sys.stdout.write(f"{child}\n")
    sys.stdout.flush()
    os.write(tell, b"\n")
    os.waitpid(child, 0)


if __name__ == "__main__":
    main()
