"""The build room's verbs: build, what the cache holds, prune.

`build` is one task; cancelling it ends its processes and gives everything back before it returns.
"""

from __future__ import annotations

from collections.abc import Callable

from sampan.build.model import CacheEntry, Context, Event, Logins, Request, Result, Secrets, Ssh


class Builder:
    """Builds images on this host."""

    async def build(
        self,
        request: Request,
        context: Context,
        *,
        secrets: Secrets | None = None,
        ssh: Ssh | None = None,
        logins: Logins | None = None,
        report: Callable[[Event], None],
    ) -> Result:
        """Run the steps that the target needs and make the image. `report` is called in the event loop, in order.

        Raises: `BuildFailed` for a step, kinds of `Invalid` for the request and the file, and what the rooms below
        raise. Nothing of a failed build stays but cache records of the steps that succeeded.
        """
        raise NotImplementedError

    def cache(self) -> list[CacheEntry]:
        """The records of the cache, newest first."""
        raise NotImplementedError

    async def prune(self, filters: dict[str, tuple[str, ...]], *, everything: bool) -> tuple[list[str], int]:
        """Remove cache records. Returns their keys and the freed bytes."""
        raise NotImplementedError
