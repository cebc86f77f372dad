// @ts-check
// A rule played over stored runs: asked for again while it is changed, and only the last answer counts.
import { signal } from '../vendor/signals.js'
import { postLines } from '../api.js'

/** @import { Signal } from '../vendor/signals.js' */

const slowMilliseconds = 4_000

export class Tested {
  constructor() {
    /** @type {Signal<Api.TestedRun[]>} */
    this.runs = signal([])
    /** @type {Signal<Api.TestSummary | null>} */
    this.summary = signal(null)
    this.busy = signal(false)
    // The last answer took so long that it is asked for only when somebody wants it.
    this.slow = signal(false)
    /** @type {Signal<Error | null>} */
    this.error = signal(null)
  }

  #abort = new AbortController()
  /** @type {Timer} */
  #timer

  /**
   * Ask once nothing has changed for so long. What was found before stays until then.
   *
   * @param {object} body a `TestRuleRequest`
   * @param {number} [milliseconds]
   */
  soon(body, milliseconds = 0) {
    clearTimeout(this.#timer)
    this.#abort.abort()
    this.busy.value = true
    this.#timer = setTimeout(() => this.ask(body), milliseconds)
  }

  /** @param {object} body */
  async ask(body) {
    this.#abort.abort()
    const abort = (this.#abort = new AbortController())
    /** @type {Api.TestedRun[]} */
    const runs = []
    this.busy.value = true
    const begun = performance.now()
    try {
      await postLines(
        '/rules:test',
        body,
        (/** @type {Api.TestRuleResponse} */ { run, summary }) => {
          if (run) runs.push(run)
          if (summary) this.summary.value = summary
        },
        { signal: abort.signal },
      )
      this.runs.value = runs
      this.error.value = null
      this.slow.value = performance.now() - begun > slowMilliseconds
    } catch (failure) {
      if (failure.name === 'AbortError') return
      this.error.value = failure
    }
    if (this.#abort === abort) this.busy.value = false
  }

  close() {
    clearTimeout(this.#timer)
    this.#abort.abort()
  }
}
