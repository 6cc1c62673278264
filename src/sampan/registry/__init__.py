"""The registry: repositories of manifests and blobs, as the OCI distribution specification names them.

Words: a *repository* shows blobs and manifests of the shared content store under a name; a *manifest* holds its blobs
as long as it is there; an *upload* is a blob a client is still sending; to *mount* is to show a blob of another
repository; *referrers* are manifests whose subject is a given one. Nothing here knows HTTP, and nothing copies a blob.
"""
