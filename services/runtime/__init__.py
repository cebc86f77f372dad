"""The runtime service: the life of runtimes, their snapshots and their audit.

A command comes in at the top, and what follows from it goes on by itself at the scheduler:

    application   builds the parts and starts them; tests start it too
    commands      RPCs that change something: checked, decided, appended
    audit         replay, moments of the past, proofs, bundles, imported runs
    scheduling    the process manager: carries every runtime from request to end
    searching     has the trials of a search with a sampler chosen, one by one
    decisions     load, decide, append; again when somebody was faster
    launchers     how an attempt's process is started, seen and ended; one adapter for each kind
    readmodel     every runtime as the log says it is, and what can be asked of it
    policies      what is to be done next; pure
    snapshots     where they are, whether they are whole

Each room knows those below it. In: gRPC, the event log, heartbeats. Out: events, processes, answers.
"""
