"""The words a notebook may use.

A notebook opens a session, surveys, plans, clears, applies, and looks again; `show`
knows what it is given. Everything that changes AWS goes through `apply`.

A word is loaded when it is first used: a command that must be fast, and the local
mesh's own processes, pay for what they use alone.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

HOMES = {
    "aws.applying": ("apply", "keep_or_put_back"),
    "checks": ("check_environment", "require_checks"),
    "gates": (
        "evidence",
        "evidence_for_shift",
        "evidence_of_path",
    ),
    "engines.appmesh.engine": ("plan_permissions", "plan_sidecars"),
    "runs.history": ("read_history",),
    "plan": ("clear",),
    "opening": ("open_session",),
    "shift": ("plan_steps", "shift_traffic"),
    "shift.outlook": ("forecast_steps",),
    "display.show": ("show",),
    "survey": ("survey",),
    "runs.undo": ("plan_undo",),
    "display.live": ("follow_shift", "show_progress"),
    "display.panel": ("weights_panel",),
}
HOME_OF = {word: home for home, words in HOMES.items() for word in words}

__all__ = sorted(HOME_OF)


class _Words(ModuleType):
    """This package: `apply` and `survey` are words here, though modules
    have the same names.
    """

    def __getattr__(self, word: str) -> Any:
        if word not in HOME_OF:
            raise AttributeError(f"module {self.__name__!r} has no attribute {word!r}")
        found = getattr(import_module(f"{self.__name__}.{HOME_OF[word]}"), word)
        self.__dict__[word] = found
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        # an import puts a module under its own name
        if not (name in HOME_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *HOME_OF})


sys.modules[__name__].__class__ = _Words
