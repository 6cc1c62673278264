"""How a container is confined: capabilities, system calls, hidden paths, as data and pure functions of the options.

Words: the *bounding set* is what this host lets anybody have; a *confinement* is the part of an OCI runtime
configuration that limits a process. Nothing here starts or mounts anything.
"""
