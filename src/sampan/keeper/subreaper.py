"""Become the parent of orphans: a runtime that detaches leaves its container to the nearest subreaper.

This is the one place outside `sampan.kernel` that uses ctypes: the attribute is not inherited across fork or kept for
another process, so the keeper itself must ask, and the keeper imports no other room. It costs 0.4 MiB.
"""

from __future__ import annotations

import ctypes
import os

# Source: include/uapi/linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """prctl(PR_SET_CHILD_SUBREAPER, 1). Raises: OSError."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl(PR_SET_CHILD_SUBREAPER, 1) failed: {os.strerror(error)}")
