"""A container's files, for those outside: `cp`, `diff`, `export`, `commit`.

A *view* is the container's tree as it sees it itself: while it runs, its own root with its mounts; while it does not,
the overlay with its volumes and binds on it, in a mount namespace of the operation's own. All paths are resolved by the
kernel inside a view; a path is followed once, and then the open file is used.
"""
