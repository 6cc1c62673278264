"""Lazy start: containers of an image run before its layers have arrived.

Words: an *outline* is what a layer's metadata is made from (`formats.outline`); a *pending* layer has its metadata and
a sparse file in its tar's place; a *chunk* is a MiB of the tar, fetched and checked as one; the *guard* keeps whoever
reads a chunk that is not here waiting (`kernel.fanotify`), and is held by the keeper; *filling* fetches chunks, those
that somebody waits for first.

What is here of a pending layer is never written down: each chunk is checked against its hash before anybody may read
it, after a restart again. Nothing here mounts, and no image is visible before its layers are at least pending.
"""
