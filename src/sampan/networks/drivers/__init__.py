"""Drivers: how an endpoint meets its network. Given an endpoint and a namespace, it returns requests.

`bridge` is the one there is: a Linux bridge and a veth pair per endpoint.
"""
