"""What a process prints, on its way to the log of its run.

`descriptors.py` hears what others write to the descriptors of a script, and `relay.py`, a process of its own, carries it on
to where it belongs. `screen.py` folds a stream to the lines that a terminal would show.
"""
