"""Remembers what was found out about values that never change, and knows them again by identity."""

from collections.abc import Callable
from functools import wraps
from operator import is_
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_KEPT = 4
"""Answers: of the live routing, of the one that is to come, and of what is restored."""


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which is not asked again about the very values of its newest answers.

    It is for parts of a routing, which an edit of another part shares: to compare them would cost
    as much as to look at them. They are given by position, and nobody changes them.
    """
    kept: tuple[tuple[tuple[object, ...], R], ...] = ()

    @wraps(function)
    def asked(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal kept
        for values, answer in kept:
            if all(map(is_, values, args)):
                return answer
        answer = function(*args, **kwargs)
        kept = ((args, answer), *kept[: _KEPT - 1])
        return answer

    return asked
