"""ClickHouse: the only room that speaks to it.

- `store`: inserts, queries, one process or a server; start here. `schema/`: the tables as SQL, each column with its reason.
- `definitions`, `selection`, `order`: what queries are made of. `arrays`, `batches`: between messages, columns and
  bytes. `samples`: rows beside values.
- `owner`: one process owns a data folder.
"""
