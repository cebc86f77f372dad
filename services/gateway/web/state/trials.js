// @ts-check
// All trials of all runtimes, and a few of them side by side.
import { batch, signal } from '../vendor/signals.js'
import { get } from '../api.js'
import { Stream } from '../stream.js'

/** @import { Signal } from '../vendor/signals.js' */

const pageSize = 500
const namesAtOnce = 1000
const paintPause = 250

export class TrialList {
  constructor() {
    /** @type {Signal<Api.Trial[]>} */
    this.trials = signal([])
    /** @type {Map<string, number>} */
    this.receivedAt = new Map()
    // Names of runtimes by id.
    /** @type {Signal<Map<string, string>>} */
    this.names = signal(new Map())
    this.total = signal(0)
    /** @type {Signal<Error | null>} */
    this.error = signal(null)
    this.loading = signal(true)
    this.stream = new Stream('/stream', { trials: ({ trial }) => trial && this.#receive(trial) })
    this.connection = this.stream.state
  }

  /** @type {Map<string, Api.Trial>} */
  #pending = new Map()
  /** @type {Timer} */
  #timer
  #next = ''

  close() {
    this.stream.close()
    clearTimeout(this.#timer)
  }

  /** @param {string} filter */
  async show(filter) {
    this.filter = filter
    try {
      const answer = await get('/runtimes/-/trials', { page_size: pageSize, filter, brief: true })
      if (filter !== this.filter) return
      const now = performance.now()
      for (const trial of answer.trials ?? []) this.receivedAt.set(trial.name, now)
      batch(() => {
        this.trials.value = answer.trials ?? []
        this.total.value = answer.total_size ?? 0
        this.loading.value = false
        this.error.value = null
      })
      this.#next = answer.next_page_token ?? ''
      this.stream.subscribe(['trials'])
      this.#loadNames()
    } catch (error) {
      this.error.value = error
      this.loading.value = false
    }
  }

  get hasMore() {
    return this.#next !== ''
  }

  async more() {
    const answer = await get('/runtimes/-/trials', {
      page_size: pageSize,
      filter: this.filter,
      brief: true,
      page_token: this.#next,
    })
    this.#next = answer.next_page_token ?? ''
    this.trials.value = [...this.trials.peek(), ...(answer.trials ?? [])]
    this.#loadNames()
  }

  /**
   * Trials say the id of their runtime only. Unknown names are asked for once; without an answer the id stands there.
   */
  async #loadNames() {
    const known = this.names.peek()
    const missing = [...new Set(this.trials.peek().map((trial) => trial.runtime_id))].filter((id) => !known.has(id))
    if (missing.length === 0) return
    const found = new Map(known)
    for (const id of missing) found.set(id, '')
    this.names.value = found
    let token = ''
    do {
      const asked = get('/runtimes', { page_size: namesAtOnce, page_token: token || undefined })
      // Without an answer there are no more names.
      const answer = await asked.catch(() => undefined)
      const names = new Map(this.names.peek())
      for (const runtime of answer?.runtimes ?? []) names.set(runtime.runtime_id, runtime.display_name)
      this.names.value = names
      token = answer?.next_page_token ?? ''
    } while (token && missing.some((id) => !this.names.peek().get(id)))
  }

  /** @param {Api.Trial} trial */
  #receive(trial) {
    this.#pending.set(trial.name, trial)
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      const pending = this.#pending
      this.#pending = new Map()
      const now = performance.now()
      const known = new Set(this.trials.peek().map((one) => one.name))
      for (const [name, trial] of pending) this.receivedAt.set(name, trial.received_at ?? now)
      const changed = this.trials
        .peek()
        .map((one) => pending.get(one.name) ?? one)
        .filter((one) => !one.runtime_deleted)
      // With a filter only the server knows whether a new trial belongs here.
      const fresh = this.filter
        ? []
        : [...pending.values()].filter((one) => !known.has(one.name) && !one.runtime_deleted)
      this.total.value += fresh.length + changed.length - this.trials.peek().length
      this.trials.value = [...fresh, ...changed]
      if (fresh.length > 0) this.#loadNames()
    }, paintPause)
  }
}

/**
 * `rt-1/2` -> `runtimes/rt-1/trials/2`.
 *
 * @param {string} short
 */
export function fullName(short) {
  const at = short.lastIndexOf('/')
  return `runtimes/${short.slice(0, at)}/trials/${short.slice(at + 1)}`
}
