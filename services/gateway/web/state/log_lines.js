// @ts-check
// The lines of a log by their place in it: any of a million, loaded where one looks.
import { batch, signal } from '../vendor/signals.js'
import { get } from '../api.js'

/**
 * @import { Query } from '../functions/query.js'
 * @import { Signal } from '../vendor/signals.js'
 * @import { RuntimeState } from './runtime.js'
 */
/**
 * @typedef {{
 *   levels: string[],
 *   ranks: string[],
 *   attempts: string[],
 *   streams: string[],
 *   text: string,
 *   regular_expression: string,
 *   include_superseded: boolean,
 * }} LogFilter
 */

export const pageSize = 500
const pagesKept = 60
/** @type {LogFilter} */
const everything = {
  levels: [],
  ranks: [],
  attempts: [],
  streams: [],
  text: '',
  regular_expression: '',
  include_superseded: false,
}
const nudgePause = 700
const retryPause = 2_000

/** `parent` is a trial's name. `filter` has the fields of `LogFilter`. */
export class LogLines {
  /**
   * @param {RuntimeState} state
   * @param {string} parent
   */
  constructor(state, parent) {
    this.state = state
    this.parent = parent
    /** @type {LogFilter} */
    this.filter = { ...everything }
    this.total = signal(0)
    // Counts changes of the lines themselves.
    this.version = signal(0)
    /** @type {Signal<Api.ListLogFacetsResponse | null>} */
    this.facets = signal(null)
    this.loading = signal(true)
    /** @type {Signal<Error | null>} */
    this.error = signal(null)
    this.fresh = signal(0)
    this.attempt = 0
  }

  /** @type {Map<number, Api.LogEntry[]>} */
  #pages = new Map()
  /** @type {Map<number, boolean>} */
  #asked = new Map()
  #lastCursor = ''
  #generation = 0
  /** @type {(() => void) | undefined} */
  #unfollow
  /** @type {Timer} */
  #nudgeTimer
  /** @type {Timer} */
  #facetTimer
  /** @type {Timer} */
  #retryTimer

  close() {
    this.#generation += 1
    this.#unfollow?.()
    clearTimeout(this.#nudgeTimer)
    clearTimeout(this.#facetTimer)
    clearTimeout(this.#retryTimer)
  }

  get filtered() {
    return Object.values(this.filter).some((value) => (Array.isArray(value) ? value.length > 0 : Boolean(value)))
  }

  /**
   * Show other lines, from their end.
   *
   * @param {LogFilter} filter
   */
  async show(filter) {
    const generation = (this.#generation += 1)
    this.filter = filter
    this.loading.value = true
    try {
      const answer = await this.#query({ backwards: true, page_size: pageSize })
      if (generation !== this.#generation) return
      const entries = answer.entries ?? []
      const total = Math.max(answer.total_size ?? 0, entries.length)
      this.#pages.clear()
      this.#asked.clear()
      this.#lastCursor = entries.at(-1)?.cursor ?? ''
      batch(() => {
        this.total.value = total
        this.#place(total - entries.length, entries)
        this.loading.value = false
        this.error.value = null
        this.fresh.value = 0
      })
      if (!this.#unfollow && this.state.stream) {
        // The newest line of all is where the stream goes on; with a filter it is not among the answers.
        const newest = this.filtered ? await this.#newestCursor() : this.#lastCursor
        if (generation === this.#generation)
          this.#unfollow = this.state.followLogs(newest, (message) => this.#receive(message))
      }
      this.#loadFacets()
    } catch (error) {
      if (generation !== this.#generation) return
      this.loading.value = false
      this.error.value = error
      // The server is away, or starting: what is on the page stays, and it is asked again.
      if (error.status === 0 || error.status >= 500)
        this.#retryTimer = setTimeout(() => generation === this.#generation && this.show(filter), retryPause)
    }
  }

  /**
   * The line at a place, or undefined while it is on its way.
   *
   * @param {number} index
   */
  line(index) {
    const page = this.#pages.get(Math.floor(index / pageSize))
    return page?.[index % pageSize]
  }

  /**
   * Load what is missing between two places.
   *
   * @param {number} first
   * @param {number} last
   */
  want(first, last) {
    for (
      let number = Math.floor(first / pageSize);
      number <= Math.floor(Math.max(first, last - 1) / pageSize);
      number += 1
    ) {
      const from = Math.max(first, number * pageSize)
      const to = Math.min(last, (number + 1) * pageSize, this.total.peek())
      const page = this.#pages.get(number)
      let missing = false
      for (let i = from; i < to && !missing; i += 1) missing = page?.[i % pageSize] === undefined
      if (missing) this.#loadPage(number)
    }
  }

  /**
   * The place of a line, or of the first line at or after a step; -1: there is none.
   *
   * @param {{ cursor?: string, step?: number }} parts
   */
  async placeOf({ cursor, step }) {
    let at = cursor
    if (step !== undefined) {
      const found = await this.#query({ first_step: step, page_size: 1 })
      at = found.entries?.[0]?.cursor
    }
    if (!at) return -1
    const answer = await this.#query({ cursor: at, page_size: 1 })
    return answer.entries?.length ? (answer.first_index ?? 0) - 1 : this.total.peek() - 1
  }

  /**
   * All lines that match, page by page, as text. `onProgress` gets lines so far.
   *
   * @param {(lines: number) => void} onProgress
   */
  async text(onProgress) {
    const parts = []
    let cursor = ''
    let lines = 0
    for (;;) {
      const answer = await this.#query({ cursor: cursor || undefined, page_size: 5000 })
      for (const entry of answer.entries ?? [])
        parts.push(`${entry.time} ${entry.level} rank ${entry.rank} step ${entry.step} ${entry.text}\n`)
      lines += answer.entries?.length ?? 0
      onProgress(lines)
      if (!answer.next_cursor || !answer.entries?.length) return parts
      cursor = answer.next_cursor
    }
  }

  /** @param {Query} more */
  #query(more) {
    return get(`/${this.parent}/logs`, { ...this.filter, ...more, ...this.state.past })
  }

  async #newestCursor() {
    const answer = await get(`/${this.parent}/logs`, { backwards: true, page_size: 1 })
    return answer.entries?.at(-1)?.cursor ?? ''
  }

  /**
   * @param {number} first
   * @param {Api.LogEntry[]} entries
   */
  #place(first, entries) {
    entries.forEach((entry, i) => {
      const index = first + i
      const number = Math.floor(index / pageSize)
      let page = this.#pages.get(number)
      if (!page) this.#pages.set(number, (page = []))
      page[index % pageSize] = entry
    })
    // The oldest pages go first; the last page is where new lines are added.
    const newest = Math.floor(this.total.peek() / pageSize)
    for (const number of this.#pages.keys()) {
      if (this.#pages.size <= pagesKept) break
      if (number < newest - 1) this.#pages.delete(number)
    }
    this.version.value += 1
  }

  /** @param {number} number */
  async #loadPage(number) {
    if (this.#asked.has(number)) return
    this.#asked.set(number, true)
    const generation = this.#generation
    try {
      const end = (number + 1) * pageSize
      // Long lines: an answer has fewer of them than were asked for.
      for (let at = number * pageSize, more = true; more && at < end;) {
        const answer = await this.#query({ skip: at, page_size: end - at })
        if (generation !== this.#generation) return
        const entries = answer.entries ?? []
        if (entries.length > 0) this.#place(at, entries)
        at += entries.length
        more = entries.length > 0 && Boolean(answer.next_cursor)
      }
      this.error.value = null
    } catch (error) {
      if (generation === this.#generation) this.error.value = error
    } finally {
      if (generation === this.#generation) this.#asked.delete(number)
    }
  }

  /** @param {Api.StreamLogsResponse} message */
  #receive(message) {
    // Cursors are ordered. A line that came with an answer meanwhile does not come again.
    const entries = (message.entries ?? []).filter((entry) => entry.cursor > this.#lastCursor)
    if (entries.length === 0) return
    const attempt = Math.max(...entries.map((entry) => entry.attempt ?? 0))
    if (this.attempt && attempt > this.attempt) {
      // A new attempt may have cut off lines of the one before: places move.
      this.attempt = attempt
      this.show(this.filter)
      return
    }
    this.attempt = attempt
    if (this.filtered) {
      this.#nudgeTimer ??= setTimeout(() => this.#appendMatching(), nudgePause)
      return
    }
    this.#append(entries)
  }

  /** @param {Api.LogEntry[]} entries */
  #append(entries) {
    this.#lastCursor = entries[entries.length - 1].cursor
    batch(() => {
      const first = this.total.peek()
      this.total.value = first + entries.length
      this.fresh.value += entries.length
      this.#place(first, entries)
    })
    this.#facetTimer ??= setTimeout(() => this.#loadFacets(), 3_000)
  }

  /** Lines came; the server knows which of them match. */
  async #appendMatching() {
    this.#nudgeTimer = undefined
    const generation = this.#generation
    try {
      const answer = await this.#query({ cursor: this.#lastCursor || undefined, page_size: 5000 })
      if (generation === this.#generation && answer.entries?.length) this.#append(answer.entries)
    } catch (error) {
      if (generation === this.#generation) this.error.value = error
    }
  }

  async #loadFacets() {
    clearTimeout(this.#facetTimer)
    this.#facetTimer = undefined
    const { levels, ranks, attempts, streams, ...rest } = this.filter
    const generation = this.#generation
    try {
      const answer = await get(`/${this.parent}/logs/facets`, { ...rest, ...this.state.past })
      if (generation === this.#generation) this.facets.value = answer
    } catch {
      // Without counts the filters are still there.
      if (generation === this.#generation) this.facets.value = null
    }
  }
}
