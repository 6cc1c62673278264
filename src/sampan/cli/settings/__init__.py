"""A person's settings for the client: Docker's `~/.docker`, read and written so that both programs use it.

`file.py` is `config.json`, `auth.py` what a registry is told about us, `helpers.py` the programs that keep passwords.
"""
