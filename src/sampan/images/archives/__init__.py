"""Images as archives: `save` and `load`.

An archive is what docker has written since version 25 and everybody reads: an OCI layout (`oci-layout`, `index.json`,
`blobs/`) that is a docker-archive too (`manifest.json`, `repositories`). A *member* is one file of it. Members are
known by their names inside the archive only; no name from an archive becomes a path of this host.
"""
