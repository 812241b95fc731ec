"""The machine that figures are measured on, and the versions of everything that takes part."""

import os
import platform
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from bench.unpacked import versions_of_peers

_LIBRARIES = ("uvicorn", "fastapi", "pydantic", "lmdb")


def machine() -> Mapping[str, str]:
    """CPU, cores, memory, kernel."""
    said = Path("/proc/cpuinfo").read_text("utf-8")
    model = re.search(r"^model name\s*: (.*)$", said, re.MULTILINE)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "CPU": model[1] if model else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{pages / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
    }


def versions() -> Mapping[str, str]:
    """What took part, where it is there."""
    found = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    found |= {library: version(library) for library in _LIBRARIES}
    for name, command, pattern in (
        ("smtpd", ("smtpd", "-h"), r"OpenSMTPD (\S+)"),
        ("PostgreSQL", ("psql", "--version"), r"(\d[\d.]*)"),
    ):
        if said := _said(command, pattern):
            found[name] = said
    return {**found, **versions_of_peers()}


def _said(command: tuple[str, ...], pattern: str) -> str | None:
    program = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin:/sbin")
    if program is None:
        return None
    run = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    match = re.search(pattern, run.stdout + run.stderr)
    return match[1] if match else None
