// @ts-check
// The live stream: one connection a page, resumed from the last id it saw, closed while the tab is hidden.
import { signal } from './vendor/signals.js'
import { signIn } from './api.js'
import { address } from './functions/query.js'
import { parser } from './functions/sse.js'
import { moveToken } from './functions/token.js'
import { bellTopic, ring } from './state/bell.js'

/**
 * @import { Query } from './functions/query.js'
 * @import { ServerEvent } from './functions/sse.js'
 * @import { Signal } from './vendor/signals.js'
 */
/** @typedef {'connecting' | 'live' | 'reconnecting' | 'paused' | 'past'} Connection */
/** @typedef {{ [topic: string]: (message: any) => void }} Handlers */

const firstWait = 250
const longestWait = 4_000
// The server sends something at least every 10 s.
const silenceLimit = 25_000
// Browsers allow six connections to one server: tabs that nobody looks at must not hold them.
const hiddenLimit = 30_000
// What was read is of a log that is gone: all of it is read anew, but not over and over.
const beginAgainLimit = 30_000
const begunAgain = 'begun-again'

/**
 * Topics of one path. `handlers` maps a topic to a function of the message. `state` is a signal: connecting, live,
 * reconnecting or paused; `problems` maps topics that ended for good to the server's words.
 */
export class Stream {
  /**
   * @param {string} path
   * @param {Handlers} handlers
   */
  constructor(path, handlers) {
    this.path = path
    this.handlers = handlers
    /** @type {Signal<Connection>} */
    this.state = signal('connecting')
    /** @type {Signal<Record<string, string>>} */
    this.problems = signal({})
    /** @type {string[]} */
    this.topics = []
    /** @type {Query} */
    this.query = {}
    this.token = ''
    this.closed = false
    document.addEventListener('visibilitychange', this.#onVisibility)
    window.addEventListener('online', this.#onOnline)
  }

  #wake = () => {}
  #abort = new AbortController()
  /** @type {Timer} */
  #hiddenTimer
  #running = false
  #version = 0
  /** @type {Set<string>} */
  #lost = new Set()

  /**
   * Ask for these topics. `positions` says where they begin ({metrics: [99120]}); those that were asked for before go
   * on where they are. What rules have open comes with every stream.
   *
   * @param {string[]} wanted
   * @param {Query} [query]
   * @param {Record<string, (string | number)[] | null>} [positions]
   */
  subscribe(wanted, query = {}, positions = {}) {
    const topics = [...wanted, bellTopic]
    this.token = moveToken(this.token, positions)
    const same = topics.join() === this.topics.join() && JSON.stringify(query) === JSON.stringify(this.query)
    this.topics = topics
    this.query = query
    if (same && Object.keys(positions).length === 0) return
    this.#version += 1
    this.#abort.abort()
    if (!this.#running) this.#run()
  }

  close() {
    this.closed = true
    document.removeEventListener('visibilitychange', this.#onVisibility)
    window.removeEventListener('online', this.#onOnline)
    clearTimeout(this.#hiddenTimer)
    this.#abort.abort()
    this.#wake()
  }

  #onOnline = () => this.#wake()

  #onVisibility = () => {
    clearTimeout(this.#hiddenTimer)
    if (document.hidden) {
      this.#hiddenTimer = setTimeout(() => {
        this.state.value = 'paused'
        this.#abort.abort()
      }, hiddenLimit)
    } else if (this.state.peek() === 'paused') {
      this.state.value = 'connecting'
      this.#wake()
    }
  }

  async #run() {
    this.#running = true
    let failures = 0
    while (!this.closed) {
      if (this.state.peek() === 'paused') {
        await this.#sleep()
        continue
      }
      const version = this.#version
      const heard = await this.#connect()
      if (this.closed || version !== this.#version || this.state.peek() === 'paused') continue
      failures = heard ? 1 : failures + 1
      this.state.value = 'reconnecting'
      await this.#sleep(Math.min(longestWait, firstWait * 2 ** Math.min(failures - 1, 6)) * (0.8 + 0.4 * Math.random()))
    }
  }

  /**
   * @param {number} [milliseconds]
   * @returns {Promise<void>}
   */
  #sleep(milliseconds) {
    return new Promise((resolve) => {
      const timer = milliseconds === undefined ? undefined : setTimeout(resolve, milliseconds)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  /** Read until the connection ends. Returns whether anything came. */
  async #connect() {
    const abort = new AbortController()
    this.#abort = abort
    /** @type {Record<string, string>} */
    const headers = { accept: 'text/event-stream' }
    if (this.token) headers['last-event-id'] = this.token
    let heard = false
    /** @type {Timer} */
    let silence
    const listen = () => {
      clearTimeout(silence)
      silence = setTimeout(() => abort.abort(), silenceLimit)
    }
    listen()
    try {
      const url = address(`/api/v1${this.path}`, { topics: this.topics.join(','), ...this.query })
      const response = await fetch(url, { headers, signal: abort.signal, cache: 'no-store' })
      if (response.status === 401) signIn()
      if (!response.ok || !response.body) return false
      this.#lost.clear()
      this.#showLive()
      const feed = parser()
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
      for (;;) {
        const { value, done } = await reader.read()
        if (done || abort.signal.aborted) return heard
        heard = true
        listen()
        for (const message of feed(value)) this.#deliver(message)
      }
    } catch (error) {
      // A connection that ends or is refused is a TypeError, by our own hand an AbortError.
      if (error.name !== 'AbortError' && !(error instanceof TypeError)) throw error
      return heard
    } finally {
      clearTimeout(silence)
    }
  }

  #showLive() {
    this.state.value = this.#lost.size > 0 ? 'reconnecting' : 'live'
  }

  /** @param {ServerEvent} message */
  #deliver(message) {
    const content = JSON.parse(message.data)
    if (message.event === bellTopic) ring(content)
    else if (content.topic === bellTopic) {
      // Without the rule service the page is no worse.
    } else if (message.event === 'feed') {
      if (content.state === 'live') this.#lost.delete(content.topic)
      else this.#lost.add(content.topic)
      this.#showLive()
    } else if (message.event === 'problem') {
      if (content.code === 'OUT_OF_RANGE' && beginAgain()) return
      this.problems.value = { ...this.problems.peek(), [content.topic]: content.detail || content.title }
    } else {
      if (content.trial) content.trial.received_at = performance.now() - 1000 * (content.age_seconds ?? 0)
      this.handlers[message.event]?.(content)
    }
    // Only after the message was used: what fails in between comes again.
    if (message.id !== undefined) this.token = message.id
  }
}

/** Load the page anew, unless that was tried just now. An older backup was restored under it. */
function beginAgain() {
  const now = Date.now()
  if (now - Number(sessionStorage.getItem(begunAgain) ?? 0) < beginAgainLimit) return false
  sessionStorage.setItem(begunAgain, String(now))
  location.reload()
  return true
}
