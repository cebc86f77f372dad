"""What user code is and hands over.

- `entrypoint`: the function that a configuration names.
- `given`: numbers, texts and mappings of any kind, as what a record can hold.
- `forks`: in a child that is forked off nothing of a run acts.
- `ending`: how long the end of its process may wait for a server.
"""
