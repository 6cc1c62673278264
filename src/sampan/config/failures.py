"""The one way in which settings fail: the option, what was given, and the remedy."""

from __future__ import annotations

from sampan import errors


class SettingInvalid(errors.Invalid):
    """A setting that does not exist, or a value that it cannot have."""
