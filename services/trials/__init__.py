"""The trial service: where each trial is, how it came there, and how long it will take.

It follows two streams and answers from what it has folded; it writes nothing to the log.

    application   builds the parts and starts them; tests start it too
    imported      trials of runs that came as bundles
    service       the RPCs; `watches`: the live ones
    live          follows the streams, keeps checkpoints, folds the past
    queries       lists: filters, orders, pages
    messages      from views to messages of the contract
    readmodel     every trial, folded

Each part knows those below it. In: gRPC, events, headers of telemetry. Out: answers.
"""
