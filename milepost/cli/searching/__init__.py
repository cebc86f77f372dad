"""`milepost search ...`: `simulate` plays another pruner over a search that is over."""
