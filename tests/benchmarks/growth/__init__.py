"""What grows with the work: each figure at once, ten and a hundred times the size. Run by `make bench-growth`."""
