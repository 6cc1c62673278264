"""gRPC over HTTP/2, on a connection that a handler took over from the web server.

Both roles: the daemon answers calls (`server`), and over a connection that the client opened it also makes them
(`client`): that is how a build asks its client for files. Words: an *exchange* is one HTTP/2 stream, a *call* one gRPC
method on it, *metadata* its headers.

This room knows no method of anybody; it is imported when the first such connection comes.
"""
