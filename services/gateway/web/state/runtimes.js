// @ts-check
// The list of runtimes: its order comes from the server, its rows change in place.
import { batch, signal } from '../vendor/signals.js'
import { get } from '../api.js'
import { Stream } from '../stream.js'
import { column, numbers } from '../functions/wire.js'
import { currentTrial, served, sorted, sparkGroups, summary } from '../functions/rows.js'

/**
 * @import { Summary } from '../functions/rows.js'
 * @import { Signal } from '../vendor/signals.js'
 */
/**
 * @typedef {{
 *   id: string,
 *   runtime: Signal<Api.Runtime | null>,
 *   trials: Signal<Map<number, Api.Trial>>,
 *   spark: Signal<number[] | null>,
 *   at: number,
 * }} Row
 */

// More than fit into a window, and no more: the next page comes as one scrolls.
const pageSize = 50
// Trials of the rows of a page, in one answer.
const trialsAtOnce = 1_000
const listPause = 400
const rowPause = 250
const sparkBuckets = 40
const sparkPoints = 60
const sparkPause = 3_000
const parentsAtOnce = 50
// Sorted here by what the service does not sort by; more rows than these are not asked for.
const sortedAtMost = 1_000
const sortPause = 2_000

export class RuntimeList {
  constructor() {
    /** @type {Signal<string[]>} */
    this.ids = signal([])
    /** @type {Signal<Record<string, number>>} */
    this.counts = signal({})
    this.total = signal(0)
    this.loading = signal(true)
    /** @type {Signal<Error | null>} */
    this.error = signal(null)
    // What the service does not understand of the filter, while one types.
    this.hint = signal('')
    /** @type {Map<string, Row>} */
    this.rows = new Map()
    this.filter = ''
    this.sort = ''
    this.hold = false
    this.onTrials = () => {}
    this.stream = new Stream('/stream', {
      runtimes: (message) => this.#receiveRuntime(message),
      trials: (message) => message.trial && this.#receiveTrial(message.trial),
    })
    this.connection = this.stream.state
  }

  #next = ''
  /** @type {Timer} */
  #listTimer
  /** @type {Map<string, Api.Trial>} */
  #pending = new Map()
  /** @type {Timer} */
  #rowTimer
  /** @type {Set<string>} */
  #sparkWanted = new Set()
  /** @type {string[] | undefined} */
  #heldIds
  #generation = 0
  /** @type {Set<string>} */
  #trialsWanted = new Set()
  // Rows that are read at once: as many as one has scrolled to.
  #size = pageSize
  /** @type {Record<string, (string | number)[]> | undefined} */
  #begin
  /** @type {Timer} */
  #sortTimer

  close() {
    this.stream.close()
    clearTimeout(this.#listTimer)
    clearTimeout(this.#rowTimer)
    clearTimeout(this.#sortTimer)
  }

  /**
   * The row of a runtime: {runtime, trials, spark} as signals.
   *
   * @param {string} id
   * @returns {Row}
   */
  row(id) {
    let row = this.rows.get(id)
    if (!row) {
      row = { id, runtime: signal(null), trials: signal(new Map()), spark: signal(null), at: performance.now() }
      this.rows.set(id, row)
    }
    return row
  }

  /**
   * `sort`: a column, with `-` in front the other way; empty: what is active first.
   *
   * @param {string} filter
   * @param {string} [sort]
   */
  async show(filter, sort = '') {
    this.filter = filter
    this.sort = sort
    this.#size = this.#sortsHere() ? sortedAtMost : pageSize
    clearTimeout(this.#listTimer)
    await this.load()
    // What changed since the page was read, and no more: of the runtimes that nobody looks at nothing is asked.
    const begin = this.#begin ?? {}
    this.#begin = undefined
    this.stream.subscribe(['runtimes', 'trials'], {}, begin)
  }

  /**
   * The first page, or with `more` the next one.
   *
   * @param {boolean} [more]
   */
  async load(more = false) {
    const generation = more ? this.#generation : (this.#generation += 1)
    try {
      const answer = await get('/runtimes', {
        filter: this.filter,
        order_by: this.#orderBy(),
        page_size: more ? pageSize : this.#size,
        page_token: more ? this.#next : undefined,
      })
      if (generation !== this.#generation) return
      this.#next = answer.next_page_token ?? ''
      const first = await this.#readTrials((answer.runtimes ?? []).map((runtime) => runtime.runtime_id))
      if (generation !== this.#generation) return
      if (first && this.stream.topics.length === 0) this.#begin = { runtimes: [answer.sequence ?? 0], trials: first }
      batch(() => {
        for (const runtime of answer.runtimes ?? []) this.#place(runtime)
        const ids = (answer.runtimes ?? []).map((runtime) => runtime.runtime_id)
        this.#order(more ? [...this.ids.peek(), ...ids] : ids)
        this.#size = Math.min(sortedAtMost, Math.max(this.#size, this.ids.peek().length))
        this.counts.value = answer.status_counts ?? {}
        this.total.value = answer.total_size ?? ids.length
        this.loading.value = false
        this.error.value = null
        this.hint.value = ''
      })
      if (this.#sortsHere()) await this.#sortHere(generation)
    } catch (error) {
      if (generation !== this.#generation) return
      this.loading.value = false
      if (error.status === 400) {
        // A filter that is still being typed: what was found before stays.
        this.hint.value = error.violations[0]?.description ?? error.message
        // A page that is opened with one has found nothing before, and is not to say that there is nothing.
        if (!Object.keys(this.counts.peek()).length) await this.#count()
        return
      }
      this.error.value = error
      this.#listTimer = setTimeout(() => this.load(), 3_000)
    }
  }

  /**
   * Read the trials of those of these runtimes that were not asked for before: the stream tells of changes only.
   * Returns the positions that they are of; undefined: nothing was asked.
   *
   * @param {string[]} ids
   */
  async #readTrials(ids) {
    const wanted = ids.filter((id) => !this.#trialsWanted.has(id))
    for (const id of wanted) this.#trialsWanted.add(id)
    /** @type {[number | string, number | string] | undefined} */
    let position
    try {
      // Where there is nothing to show yet the stream begins here all the same.
      const asks = wanted.length > 0 || this.stream.topics.length === 0
      for (let token = asks ? undefined : ''; token !== '';) {
        const answer = await get('/runtimes/-/trials', {
          brief: true,
          runtime_ids: wanted,
          page_size: wanted.length > 0 ? trialsAtOnce : 1,
          page_token: token,
        })
        position ??= [answer.events_sequence ?? 0, answer.telemetry_sequence ?? 0]
        batch(() => {
          for (const trial of answer.trials ?? []) {
            // What the stream told meanwhile is newer.
            if (this.row(trial.runtime_id).trials.peek().has(trial.trial)) continue
            trial.received_at = performance.now()
            this.#paint(trial)
          }
        })
        token = wanted.length > 0 ? (answer.next_page_token ?? '') : ''
      }
    } catch {
      // A row without its trials is still a row; the stream tells of all of them when the service is back.
      for (const id of wanted) this.#trialsWanted.delete(id)
      return undefined
    }
    this.onTrials()
    return position
  }

  /** How many there are of each status, whatever the filter. */
  async #count() {
    const answer = await get('/runtimes', { page_size: 1 }).catch(() => undefined)
    if (answer) this.counts.value = answer.status_counts ?? {}
  }

  #orderBy() {
    const column = served[this.sort.replace(/^-/, '')]
    return column ? `${column}${this.sort.startsWith('-') ? ' desc' : ''}` : undefined
  }

  #sortsHere() {
    return this.sort !== '' && this.#orderBy() === undefined
  }

  /**
   * Sort by what only the trials tell, and again now and then: they go on.
   *
   * @param {number} generation
   * @returns {Promise<void>}
   */
  async #sortHere(generation) {
    clearTimeout(this.#sortTimer)
    if (this.hasMore && this.ids.peek().length < sortedAtMost) return this.load(true)
    const place = () => {
      if (generation !== this.#generation) return
      const at = Date.now()
      /**
       * @param {string} id
       * @returns {[Api.Runtime | null, Summary | null]}
       */
      const of = (id) => {
        const row = this.row(id)
        const runtime = row.runtime.peek()
        return [runtime, runtime && summary(runtime, row.trials.peek(), at)]
      }
      const now = this.#heldIds ?? this.ids.peek()
      const next = sorted(now, this.sort.replace(/^-/, ''), this.sort.startsWith('-'), of)
      if (next.some((id, i) => id !== now[i])) this.#order(next)
      this.#sortTimer = setTimeout(place, sortPause)
    }
    place()
  }

  get hasMore() {
    return this.#next !== ''
  }

  /**
   * While the pointer is over the rows, none of them moves.
   *
   * @param {boolean} held
   */
  setHold(held) {
    this.hold = held
    if (!held && this.#heldIds) {
      this.ids.value = this.#heldIds
      this.#heldIds = undefined
    }
  }

  /**
   * Ask for the sparklines of these rows, if they have none yet.
   *
   * @param {string[]} ids
   */
  async wantSparks(ids) {
    const wanted = ids
      .filter((id) => !this.#sparkWanted.has(id) && this.row(id).trials.peek().size > 0)
      .slice(0, parentsAtOnce)
    if (wanted.length === 0) return
    for (const id of wanted) this.#sparkWanted.add(id)
    for (const ids of sparkGroups(wanted, (id) => currentTrial(this.row(id).trials.peek())?.progress?.step ?? 0))
      this.#loadSparks(ids)
  }

  /**
   * Buckets are as wide for all series of an answer: rows that are about as long are asked for together.
   *
   * @param {string[]} ids
   */
  async #loadSparks(ids) {
    const parents = ids.map((id) => currentTrial(this.row(id).trials.peek())?.name)
    try {
      const answer = await get('/series:query', { parents, keys: ['train/loss'], bucket_count: sparkBuckets })
      const empty = new Set(ids)
      for (const series of answer.series ?? []) {
        const id = series.parent.split('/')[1]
        if (!series.lasts?.length) continue
        this.row(id).spark.value = column(series, 'lasts').slice(-sparkPoints)
        empty.delete(id)
      }
      // Its points may be on their way into the store: asked for again with a later word of its trial.
      setTimeout(() => empty.forEach((id) => this.#sparkWanted.delete(id)), sparkPause)
    } catch {
      // A row without its sparkline is still a row; asked for again when it is next shown.
      for (const id of ids) this.#sparkWanted.delete(id)
    }
  }

  /** @param {string[]} ids */
  #order(ids) {
    const unique = [...new Set(ids)]
    if (this.hold && this.ids.peek().length > 0) this.#heldIds = unique
    else this.ids.value = unique
  }

  /** @param {Api.Runtime} runtime */
  #place(runtime) {
    const row = this.row(runtime.runtime_id)
    const known = row.runtime.peek()
    if (!known || (known.sequence ?? 0) <= (runtime.sequence ?? 0)) row.runtime.value = runtime
  }

  /** @param {Api.WatchRuntimesResponse} parts */
  #receiveRuntime({ runtime }) {
    if (!runtime) return
    const known = this.rows.get(runtime.runtime_id)?.runtime.peek()
    this.#place(runtime)
    if (known && known.status === runtime.status && known.phase === runtime.phase) return
    clearTimeout(this.#listTimer)
    this.#listTimer = setTimeout(() => this.load(), listPause)
  }

  /**
   * Hundreds of trials report at once: rows are painted a few times a second.
   *
   * @param {Api.Trial} trial
   */
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

  /** @param {Api.Trial} trial */
  #paint(trial) {
    const row = this.row(trial.runtime_id)
    row.at = trial.received_at ?? performance.now()
    const before = row.trials.peek().get(trial.trial)
    row.trials.value = new Map(row.trials.peek()).set(trial.trial, trial)
    const loss = numbers(trial.last_values)['train/loss']
    const spark = row.spark.peek()
    if (spark && loss !== undefined && trial.progress?.step !== before?.progress?.step) {
      row.spark.value = [...spark, loss].slice(-sparkPoints)
    }
  }
}
