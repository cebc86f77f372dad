"""What runs beside user code, from the script that begins a run to the batch that is sent.

A step goes down through the rooms, each of which knows only those below it:

    script      a run begun by a program of one's own: `milepost.init`, torchrun, `milepost run -- COMMAND`
    process     a run begun by a driver: the worker, its ranks, its socket to the driver, its end
    loop        the trial as user code holds it: steps, batches, evaluations, stops
    saving      snapshots: when one is due, what is in it, which ones stay
    telemetry   values on their way out of the loop: buffer, columns, alerts, the thread beside the loop
    samples     rows beside values: read, thinned, cut into batches
    spooling    what is on disk until it is known to be stored, and whoever sends it
    output      what the process prints, folded to the lines that a terminal would show
    user_code   what user code is and hands over: entrypoints, forks, values of any kind

In come a launch (`AttemptLaunch`) and the calls of user code; out go events of the attempt (`spooling.journal`), telemetry
(`spooling.sender`) and snapshots (`saving.snapshots`).
"""
