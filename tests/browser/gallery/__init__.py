"""The pictures of the docs, taken from a real stack: `make pictures`."""
