"""What every HTTP face shares: listeners, connections taken over from the web server, request bodies, JSON streams.

Words: a *face* is one dialect on the wire (Docker, OCI distribution); a *hijacked* connection is one that stops being
HTTP after the answer's head. This room knows no container and no image.
"""
