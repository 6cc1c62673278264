"""The images room: pull, push, save, load and import, and the layers containers start from.

Words: an *image* is a config and its layers; a *layer* is one tar, named by the digest of its uncompressed bytes (its
diff id); a *driver* makes a layer usable as a lower directory of an overlay. The tar itself stays in the content store
as an ordinary blob; what a driver makes from it is derived and can be made again.

It never unpacks outside a driver's own folder, never follows a path of an image on the host, and starts no containers.
"""
