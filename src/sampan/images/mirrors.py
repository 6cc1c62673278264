"""Who is asked for an image: the mirrors first, then the registry itself. Blocking."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sampan import errors
from sampan.formats.reference import Reference
from sampan.images import client, endpoints, model, parallel

log = logging.getLogger(__name__)


def ask(
    wanted: Reference,
    settings: endpoints.Settings,
    credentials: model.Credentials | None,
    attempt: Callable[[client.RegistryClient], object],
) -> None:
    """`attempt` with one registry after the other until it succeeds. A mirror is shown no login.

    Raises: what the registry itself answered; the mirrors' failures are in the log.
    """
    for mirror in endpoints.mirrors(wanted.host, settings):
        try:
            _with(client.RegistryClient(wanted.host, settings, mirror=mirror), attempt)
        except parallel.Abandoned:
            raise
        except errors.SampanError as error:
            log.warning("mirror %s did not give %s: %s", mirror, wanted.familiar, error)
        else:
            return
    _with(client.RegistryClient(wanted.host, settings, credentials), attempt)


def _with(registry: client.RegistryClient, attempt: Callable[[client.RegistryClient], object]) -> None:
    try:
        attempt(registry)
    finally:
        registry.close()
