"""Containers: what the engine runs, from the request to the recorded exit.

Words: a *container* is a bundle on disk and a row in the database; a *process* is what the runtime started for it; an
*exec* is a further process in the same container. The *keeper* (`sampan.keeper`) is the parent of every process and
holds its pipes, its log and its exit code; this room asks it over a socket (`keeping.py`) and reads the logs it writes
(`logs.py`). A container never depends on the daemon being alive.
"""
