"""Every error of the house is drawn, has a code of its own and a status over HTTP."""

import importlib
import pkgutil
import re

import app
from app.routing import errors
from app.routing.errors import ControlError
from app.server.api.problems import STATUS

for _module in pkgutil.walk_packages(app.__path__, "app."):
    if not _module.name.endswith("__main__") and ".migrations" not in _module.name:
        importlib.import_module(_module.name)


def descendants(error: type[ControlError]) -> set[type[ControlError]]:
    direct = set(error.__subclasses__())
    return direct.union(*map(descendants, direct))


ALL = descendants(ControlError)


def test_the_tree_is_drawn_whole() -> None:
    here = {error.__name__ for error in ALL if error.__module__ == errors.__name__}
    assert here
    assert here <= set(re.findall(r"\w+", errors.__doc__ or ""))


def test_a_code_is_kebab_case_and_says_one_thing() -> None:
    own = {error: vars(error)["code"] for error in ALL if "code" in vars(error)}
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code) for code in own.values())
    assert len(set(own.values())) == len(own)


MEETS_NO_REQUEST = {
    "app.render.opensmtpd.criteria",  # becomes a reason of NotExpressible
    "app.render.opensmtpd.read_back",  # agents read back
    "app.server.store.refusals",  # while the store is opened
    "app.server.tokens",  # at the first start
}


def test_every_error_that_can_meet_a_request_has_a_status() -> None:
    meets = {
        error
        for error in ALL
        if error.__module__.startswith(("app.routing", "app.render", "app.server"))
        and error.__module__ not in MEETS_NO_REQUEST
    }
    assert {error for error in meets if not set(error.__mro__) & STATUS.keys()} == set()
