"""Layer drivers: ways to make a layer's tar usable as a lower directory of an overlay.

`erofs` mounts the tar itself behind a small file of metadata and unpacks nothing; `overlay2` unpacks it into a
directory and works on every kernel. Both build from the same tree (`formats.layer`), so both accept and refuse the same
layers. `choose` picks by trying.

What a driver keeps is derived from the content store: it may be removed whole and prepared again.
"""
