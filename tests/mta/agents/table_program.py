"""The table program where smtpd looks for it, with all that it needs readable to smtpd's user."""

import importlib.util
import shutil
import sys
from pathlib import Path

from app.agent.program import NAME, wrapper
from tests.mta.bed.namespace import Namespace

_ROOT = Path(__file__).parents[3]
_INSIDE = Path("/run/program")
_PYTHON = Path("/run/python")


def install(namespace: Namespace) -> None:
    """Put the program into a machine: a checkout may be where no other user gets to."""
    target = namespace.outside(_INSIDE)
    (target / "app").mkdir(parents=True, exist_ok=True)
    shutil.copy(_ROOT / "app/__init__.py", target / "app")
    for package in ("routing", "table_program"):
        _copy(_ROOT / "app" / package, target / "app" / package)
    for name in ("idna", "lmdb"):
        _copy(_found(name), target / name)
    namespace.run(["chmod", "-R", "a+rX", str(_INSIDE)])
    program = namespace.outside(Path("/usr/libexec/opensmtpd", NAME))
    program.write_text(wrapper(_python(namespace), _INSIDE), "ascii")
    program.chmod(0o755)


def make_opt(namespace: Namespace, place: str) -> None:
    """Put ours where the documentation has it, as far as its command needs it to be installed."""
    namespace.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/opt"])
    namespace.run([str(_python(namespace)), "-m", "venv", "--without-pip", place])
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = namespace.outside(Path(place, "lib", version, "site-packages"))
    _copy(_ROOT / "app", packages / "app")
    for name in ("idna", "lmdb"):
        _copy(_found(name), packages / name)
    namespace.run(["chmod", "-R", "a+rX", place])


def _found(name: str) -> Path:
    found = importlib.util.find_spec(name)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def _python(namespace: Namespace) -> Path:
    """The interpreter that runs the tests, where smtpd's user gets to it: it may be of a home."""
    name = f"bin/python{sys.version_info.major}.{sys.version_info.minor}"
    if sys.base_prefix == "/usr":
        return Path("/usr", name)
    namespace.run(["mkdir", "-p", str(_PYTHON)])
    namespace.run(["mount", "--bind", sys.base_prefix, str(_PYTHON)])
    return _PYTHON / name


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)


def break_by(namespace: Namespace, module: Path, function: str) -> None:
    """Let the program call a function of a module before it runs; `install` mends it."""
    root = namespace.outside(_INSIDE)
    shutil.copy(module, root / "broken.py")
    main = root / "app/table_program/main.py"
    main.write_text(f"{main.read_text('utf-8')}\nimport broken\n\nbroken.{function}()\n", "utf-8")
    namespace.run(["chmod", "-R", "a+rX", str(_INSIDE)])
