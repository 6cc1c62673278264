"""The kinds of failure. Every error in Sampan subclasses exactly one kind, and says what failed, why, and the remedy.

Rooms raise kinds; only `api/` knows HTTP status codes, only `cli/` knows exit codes. Each dialect (Docker, OCI, Heat)
maps a kind to its own status in one table. A test walks all subclasses and checks that each has exactly one kind.
"""

from __future__ import annotations


class SampanError(Exception):
    """What failed, why, and what to do about it.

    `what` alone must make sense to the person who asked ("no such container: web"). `why` is the cause when it is not
    plain from `what`; `remedy` is an instruction ("free the port, or publish another one").
    """

    def __init__(self, what: str, *, why: str = "", remedy: str = "") -> None:
        super().__init__(what, why, remedy)
        self.what = what
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.what}: {self.why}" if self.why else self.what
        return f"{text} ({self.remedy})" if self.remedy else text


class NotFound(SampanError):
    """The named thing does not exist."""


class Invalid(SampanError):
    """The request cannot be meant as it is: bad syntax, a value out of range, options that exclude each other."""


class Conflict(SampanError):
    """The request is sound but the present state forbids it: a name in use, a container running."""


class Unauthorized(SampanError):
    """Who is asking is not known."""


class Forbidden(SampanError):
    """Who is asking is known, and may not."""


class Unavailable(SampanError):
    """Something this needs does not answer now; the same request may succeed later."""


class Unchanged(SampanError):
    """The state asked for is the state there is (Docker's 304)."""


class Unsupported(SampanError):
    """Sampan, this kernel or this host does not do that."""


class Broken(SampanError):
    """The system did not do what it was told: a kernel call, a program or stored data failed."""


KINDS: tuple[type[SampanError], ...] = (
    NotFound,
    Invalid,
    Conflict,
    Unauthorized,
    Forbidden,
    Unavailable,
    Unchanged,
    Unsupported,
    Broken,
)


def kind_of(error: SampanError) -> type[SampanError]:
    """The one kind an error belongs to. `Broken` for a bare `SampanError`."""
    return next((kind for kind in KINDS if isinstance(error, kind)), Broken)
