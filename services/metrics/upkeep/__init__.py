"""What keeps the store well: `purge`, `verify`, `backup`, and `restore`, a program of its own."""
