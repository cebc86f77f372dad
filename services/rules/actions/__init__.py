"""What follows a firing beside telling somebody: commands of the runtime service, in the name of the rule's owner.

In come facts of the log, in its order; out go commands, each under one request id however often it is sent, and the facts
`ActionTaken` and `ActionFailed`.

- `backlog` is what is still to be done: a fold, so that a restart goes on where the log stands.
- `executor` has it done: the actions of one run after each other, tried again while the runtime service is away.
- `commands` makes a command of an action, and says what came of it.
- `starts` is about runs that rules start: what a rule starts, and whether rules would start runs for ever.
"""
