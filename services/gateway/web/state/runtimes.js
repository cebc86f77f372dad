// The list of runtimes: its order comes from the server, its rows change in place.
import { batch, signal } from '../vendor/signals.js'
import { get } from '../api.js'
import { Stream } from '../stream.js'
import { numbers } from '../functions/wire.js'

const pageSize = 200
const listPause = 400
const rowPause = 250
const sparkBuckets = 40
const sparkPoints = 60
const parentsAtOnce = 50

export class RuntimeList {
  constructor() {
    this.ids = signal([])
    this.counts = signal({})
    this.total = signal(0)
    this.loading = signal(true)
    this.error = signal(null)
    this.rows = new Map()
    this.filter = ''
    this.hold = false
    this.onTrials = () => {}
    this.stream = new Stream('/stream', {
      runtimes: (message) => this.#receiveRuntime(message),
      trials: (message) => message.trial && this.#receiveTrial(message.trial),
    })
    this.connection = this.stream.state
  }

  #next = ''
  #listTimer
  #pending = new Map()
  #rowTimer
  #sparkWanted = new Set()
  #heldIds
  #generation = 0

  close() {
    this.stream.close()
    clearTimeout(this.#listTimer)
    clearTimeout(this.#rowTimer)
  }

  /** The row of a runtime: {runtime, trials, spark} as signals. */
  row(id) {
    let row = this.rows.get(id)
    if (!row) {
      row = { id, runtime: signal(null), trials: signal(new Map()), spark: signal(null), at: performance.now() }
      this.rows.set(id, row)
    }
    return row
  }

  async show(filter) {
    this.filter = filter
    await this.load()
    this.stream.subscribe(['runtimes', 'trials'])
  }

  /** The first page, or with `more` the next one. */
  async load(more = false) {
    const generation = more ? this.#generation : (this.#generation += 1)
    try {
      const answer = await get('/runtimes', { filter: this.filter, page_size: pageSize, page_token: more ? this.#next : undefined })
      if (generation !== this.#generation) return
      this.#next = answer.next_page_token ?? ''
      batch(() => {
        for (const runtime of answer.runtimes ?? []) this.#place(runtime)
        const ids = (answer.runtimes ?? []).map((runtime) => runtime.runtime_id)
        this.#order(more ? [...this.ids.peek(), ...ids] : ids)
        this.counts.value = answer.status_counts ?? {}
        this.total.value = answer.total_size ?? ids.length
        this.loading.value = false
        this.error.value = null
      })
    } catch (error) {
      if (generation !== this.#generation) return
      this.loading.value = false
      this.error.value = error
      this.#listTimer = setTimeout(() => this.load(), 3_000)
    }
  }

  get hasMore() {
    return this.#next !== ''
  }

  /** While the pointer is over the rows, none of them moves. */
  setHold(held) {
    this.hold = held
    if (!held && this.#heldIds) {
      this.ids.value = this.#heldIds
      this.#heldIds = undefined
    }
  }

  /** Ask for the sparklines of these rows, if they have none yet. */
  async wantSparks(ids) {
    const wanted = ids.filter((id) => !this.#sparkWanted.has(id) && this.row(id).trials.peek().size > 0).slice(0, parentsAtOnce)
    if (wanted.length === 0) return
    for (const id of wanted) this.#sparkWanted.add(id)
    const parents = wanted.map((id) => currentTrial(this.row(id).trials.peek())?.name)
    try {
      const answer = await get('/series:query', { parents, keys: ['train/loss'], bucket_count: sparkBuckets })
      for (const series of answer.series ?? []) {
        const id = series.parent.split('/')[1]
        this.row(id).spark.value = (series.lasts ?? []).slice(-sparkPoints)
      }
    } catch {
      // A row without its sparkline is still a row; asked for again when it is next shown.
      for (const id of wanted) this.#sparkWanted.delete(id)
    }
  }

  #order(ids) {
    const unique = [...new Set(ids)]
    if (this.hold && this.ids.peek().length > 0) this.#heldIds = unique
    else this.ids.value = unique
  }

  #place(runtime) {
    const row = this.row(runtime.runtime_id)
    const known = row.runtime.peek()
    if (!known || (known.sequence ?? 0) <= (runtime.sequence ?? 0)) row.runtime.value = runtime
  }

  #receiveRuntime({ runtime }) {
    if (!runtime) return
    const known = this.rows.get(runtime.runtime_id)?.runtime.peek()
    this.#place(runtime)
    if (known && known.status === runtime.status && known.phase === runtime.phase) return
    clearTimeout(this.#listTimer)
    this.#listTimer = setTimeout(() => this.load(), listPause)
  }

  /** Hundreds of trials report at once: rows are painted a few times a second. */
  #receiveTrial(trial) {
    this.#pending.set(trial.name, trial)
    this.#rowTimer ??= setTimeout(() => {
      this.#rowTimer = undefined
      const pending = [...this.#pending.values()]
      this.#pending.clear()
      batch(() => pending.forEach((one) => this.#paint(one)))
      this.onTrials()
    }, rowPause)
  }

  #paint(trial) {
    const row = this.row(trial.runtime_id)
    row.at = trial.received_at ?? performance.now()
    const before = row.trials.peek().get(trial.trial)
    row.trials.value = new Map(row.trials.peek()).set(trial.trial, trial)
    const loss = numbers(trial.last_values)['train/loss']
    if (row.spark.peek() && loss !== undefined && trial.progress?.step !== before?.progress?.step) {
      row.spark.value = [...row.spark.peek(), loss].slice(-sparkPoints)
    }
  }
}

/** The trial a row speaks of: the last that runs, else the last that did anything. */
export function currentTrial(trials) {
  const all = [...trials.values()].sort((a, b) => a.trial - b.trial)
  return all.findLast((trial) => trial.status === 'Running') ?? all.findLast((trial) => (trial.progress?.step ?? 0) > 0) ?? all[0]
}
