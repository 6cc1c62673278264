"""The faces: one folder a dialect (Docker Engine, OCI distribution), and what they share in `http`.

A face decodes requests, calls the verbs of a room's service, and maps kinds of error to its dialect's status codes.
HTTP status codes exist nowhere else; decisions are made in the rooms below.
"""
