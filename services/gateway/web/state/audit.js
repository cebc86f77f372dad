// @ts-check
// A walk through the past of one runtime.
import { signal } from '../vendor/signals.js'
import { get } from '../api.js'
import { time } from '../functions/wire.js'
import { indexOfSequence } from '../functions/replay.js'
import { RuntimeState } from './runtime.js'

/** @import { Signal } from '../vendor/signals.js' */
/** @typedef {{ index: number, instant: number | undefined }} Wish */

const pageSize = 1000
const eventsAtMost = 20_000
const tickMilliseconds = 250
const eventsPerSecond = 3

export class AuditWalk {
  /** @param {string} id */
  constructor(id) {
    this.id = id
    /** @type {Signal<Api.RecordedEvent[]>} */
    this.events = signal([])
    /** @type {number[]} */
    this.times = []
    this.index = signal(-1)
    // Between two events, by the clock: milliseconds since 1970. Undefined: exactly at the event.
    /** @type {Signal<number | undefined>} */
    this.instant = signal(undefined)
    /** @type {Signal<Api.FieldChange[]>} */
    this.changes = signal([])
    // Sequence at which the range to export begins; 0: at the first event.
    this.rangeStart = signal(0)
    this.playing = signal(false)
    this.speed = signal('10')
    /** @type {Signal<Error | null>} */
    this.error = signal(null)
    this.truncated = false
    this.state = new RuntimeState(id, { as_of: '0' })
  }

  /** @type {Timer} */
  #timer
  #showing = false
  /** @type {Wish | undefined} */
  #next
  #closed = false

  close() {
    this.#closed = true
    clearTimeout(this.#timer)
    this.state.close()
  }

  /**
   * Load the events and show the moment the address names: a sequence, or the newest.
   *
   * @param {string} at
   */
  async open(at) {
    try {
      await this.#loadEvents()
    } catch (error) {
      this.error.value = error
      return
    }
    const events = this.events.peek()
    if (events.length === 0) return
    this.state.loadFirings()
    for (const key of ['train/learning_rate', 'train/grad_norm', 'train/loss']) this.state.series.chart(key)
    await this.show(at ? indexOfSequence(events, Number(at)) : events.length - 1)
  }

  async #loadEvents() {
    let token = ''
    /** @type {Api.RecordedEvent[]} */
    const found = []
    do {
      /** @type {Api.ListEventsResponse} */
      const answer = await get(`/runtimes/${encodeURIComponent(this.id)}/events`, {
        page_size: pageSize,
        page_token: token || undefined,
      })
      found.push(...(answer.events ?? []))
      token = answer.next_page_token ?? ''
    } while (token && found.length < eventsAtMost && !this.#closed)
    this.truncated = Boolean(token)
    this.times = found.map((event) => time(event.recorded_time) ?? time(event.event_time) ?? 0)
    this.events.value = found
  }

  /**
   * Show the moment of an event, or an instant between it and the next. Only the newest wish is carried out.
   *
   * @param {number} index
   * @param {number} [instant]
   * @returns {Promise<void>}
   */
  async show(index, instant) {
    this.index.value = index
    this.instant.value = instant
    this.#next = { index, instant }
    if (this.#showing) return
    this.#showing = true
    try {
      while (this.#next && !this.#closed) {
        const wish = this.#next
        this.#next = undefined
        await this.#load(wish)
      }
    } finally {
      this.#showing = false
    }
  }

  /** @param {Wish} parts */
  async #load({ index, instant }) {
    const events = this.events.peek()
    const event = events[index]
    const past = { as_of: instant === undefined ? String(event.sequence) : new Date(instant).toISOString() }
    try {
      await this.state.showPast(past)
      this.state.events.value = events.slice(0, index + 1).toReversed()
      if (instant === undefined) await this.#loadChanges(event.sequence)
      this.error.value = null
    } catch (error) {
      this.error.value = error
    }
  }

  /** @param {number} sequence */
  async #loadChanges(sequence) {
    // Before the first event of the log there is nothing to compare with.
    if (sequence <= 1) {
      this.changes.value = []
      return
    }
    const answer = await get(`/runtimes/${encodeURIComponent(this.id)}:diff`, {
      from: String(sequence - 1),
      to: String(sequence),
    })
    if (!this.#next) this.changes.value = answer.changes ?? []
  }

  /** @param {number} by */
  step(by) {
    this.pause()
    const last = this.events.peek().length - 1
    return this.show(Math.min(last, Math.max(0, this.index.peek() + by)))
  }

  pause() {
    this.playing.value = false
    clearTimeout(this.#timer)
  }

  play() {
    const last = this.events.peek().length - 1
    if (last < 0) return
    this.playing.value = true
    if (this.index.peek() >= last && this.instant.peek() === undefined) this.show(0)
    this.#tick(performance.now())
  }

  /**
   * One picture after the other: the next begins when the last is there, however long it took.
   *
   * @param {number} before
   */
  #tick(before) {
    const events = this.speed.peek() === 'events'
    this.#timer = setTimeout(
      async () => {
        const begun = performance.now()
        const last = this.events.peek().length - 1
        if (events) await this.show(Math.min(last, this.index.peek() + 1))
        else await this.#advance((begun - before) * Number(this.speed.peek()))
        if (!this.playing.peek() || this.#closed) return
        if (this.index.peek() >= last) this.pause()
        else this.#tick(begun)
      },
      events ? 1000 / eventsPerSecond : tickMilliseconds,
    )
  }

  /** @param {number} milliseconds */
  async #advance(milliseconds) {
    const from = this.instant.peek() ?? this.times[this.index.peek()]
    const to = from + milliseconds
    let index = this.index.peek()
    while (index + 1 < this.times.length && this.times[index + 1] <= to) index += 1
    // The very last moment is that of the last event.
    if (index === this.times.length - 1) await this.show(index)
    else await this.show(index, to)
  }
}
