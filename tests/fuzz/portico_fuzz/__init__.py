"""Fuzz targets for `portico.wire` and `portico.session`.

Rule of this package: a target is a function from octets to None that raises when a promise is broken. The
octets decide everything, so that a failure is told by them alone, whichever engine found it.
"""
