"""Other programs and files of this host: durable writes, processes, the service manager, outgoing HTTP.

Nothing here knows what a container or an image is.
"""
