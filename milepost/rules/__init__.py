"""What a rule may say: for the service that keeps rules, and for the configuration of a run that brings its own.

- `checks` fills in every default of a rule, and names by its field whatever is wrong with it.
- `of_runs` is about the rules of a configuration: what they may say, and what they are called.
- `patterns` knows RE2.
"""
