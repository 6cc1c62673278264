"""Changing a container that exists: limits, restart policy, published ports, labels; environment, mounts and command.

`wish` is what a client asks for, `plan` decides what becomes of it, `apply` does it. Words: what changes *live*
holds for the running processes at once; the rest is stored and holds from the *next start* on.
"""
