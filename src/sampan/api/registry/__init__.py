"""The registry's face: the OCI distribution specification 1.1 (Docker registry v2) over HTTP.

Words: an *endpoint* is one row of the specification's table (end-1 to end-14); a *target* is what a path names. Blobs
go out by sendfile and come in through a thread that hashes and writes; the event loop copies nothing it need not.
"""
