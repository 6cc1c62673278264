"""The content store: one per host, shared by the engine, the registry and the builder.

Words: a *blob* is a file named by its digest; a *holder* (`image:…`, `manifest:…`) keeps blobs alive; a *lease*
protects a blob that an operation under way relies upon; *collection* removes what nobody holds. On disk it is an OCI
image layout that other tools read. Nothing here knows what is inside a blob.
"""
