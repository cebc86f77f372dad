// @ts-check
// The series of the charts on a page: asked for together, kept live, asked for again when one zooms.
import { signal } from '../vendor/signals.js'
import { get } from '../api.js'
import { column } from '../functions/wire.js'
import { addPoint, cutAfter, decode, empty, isLate, nearest, widen } from '../functions/series.js'

/**
 * @import { View } from '../functions/plot.js'
 * @import { Query } from '../functions/query.js'
 * @import { Series } from '../functions/series.js'
 * @import { Signal } from '../vendor/signals.js'
 * @import { Past } from './runtime.js'
 */
/**
 * @typedef {{
 *   overview: Series[],
 *   detail: Series[] | null,
 *   loading: boolean,
 *   error: string,
 *   position?: number,
 * }} ChartState
 */

export const bucketLimit = 1000
const keysAtOnce = 100
// Of an address, which the server takes up to 32 kB of; the names of trials are in it too.
const keyCharacters = 16_000
const repaintInterval = 120
const zoomPause = 120
const retryPause = 3_000

/**
 * `parents` are names of trials. `charts` maps a key to a signal of {overview, detail, loading, error}: lists of
 * decoded series, one per trial (and abandoned tail). The overview covers everything; the detail only `view`, {from,
 * to} in steps.
 */
export class SeriesStore {
  /** @param {{ asOf?: Past }} [parts] */
  constructor({ asOf } = {}) {
    this.asOf = asOf ?? {}
    /** @type {string[]} */
    this.parents = []
    /** @type {Map<string, Signal<ChartState>>} */
    this.charts = new Map()
    /** @type {Signal<View | null>} */
    this.view = signal(null)
    this.superseded = signal(true)
    // While one has zoomed: the range moves along with the newest step.
    this.following = signal(false)
    // First step with a value that is not finite, by key, where it is known exactly.
    /** @type {Signal<Map<string, number>>} */
    this.firstOdd = signal(new Map())
    this.position = 0
    this.queries = 0
    // Whether `position` is that of an answer, so that the stream can begin there.
    this.ready = false
    this.onReady = () => {}
  }

  /** @type {Set<string>} */
  #wanted = new Set()
  /** @type {Api.StreamSeriesResponse[]} */
  #buffer = []
  #inFlight = 0
  /** @type {Set<Signal<ChartState>>} */
  #dirty = new Set()
  /** @type {Timer} */
  #paintTimer
  /** @type {Timer} */
  #zoomTimer
  /** @type {Timer} */
  #reloadTimer
  #generation = 0
  #zoomGeneration = 0
  /** @type {Map<string, number>} */
  #attempts = new Map()
  #disposed = false

  dispose() {
    this.#disposed = true
    clearTimeout(this.#paintTimer)
    clearTimeout(this.#zoomTimer)
    clearTimeout(this.#reloadTimer)
  }

  /**
   * The signal of a chart. The series are asked for with whatever else is asked for in the same moment.
   *
   * @param {string} key
   */
  chart(key) {
    let chart = this.charts.get(key)
    if (!chart) {
      chart = signal({ overview: [], detail: null, loading: true, error: '' })
      this.charts.set(key, chart)
      if (this.parents.length > 0) this.#want(key)
    }
    return chart
  }

  /**
   * Show other trials: everything is asked for again. Returns when the answer is there.
   *
   * @param {string[]} parents
   */
  async setParents(parents) {
    if (parents.join() === this.parents.join()) return
    this.parents = parents
    this.position = 0
    this.ready = false
    this.#attempts.clear()
    this.#buffer = []
    /** @type {Signal<ChartState> | undefined} */
    for (const chart of this.charts.values()) chart.value = { overview: [], detail: null, loading: true, error: '' }
    await this.reload()
  }

  /**
   * Show another past moment.
   *
   * @param {Past} asOf
   */
  async setAsOf(asOf) {
    this.asOf = asOf
    await this.reload()
  }

  /** Ask for all charts again. */
  async reload() {
    const keys = [...this.charts.keys()]
    if (keys.length === 0 || this.parents.length === 0) return
    this.#generation += 1
    await this.#load(keys)
    if (this.view.peek()) await this.#loadDetail()
  }

  /**
   * Zoom to steps from..to, or with null show everything.
   *
   * @param {View | null} view
   */
  zoom(view) {
    this.#zoomGeneration += 1
    this.view.value = view
    clearTimeout(this.#zoomTimer)
    if (view) this.#zoomTimer = setTimeout(() => this.#loadDetail(), zoomPause)
    else
      /** @type {Signal<ChartState> | undefined} */
      for (const chart of this.charts.values()) if (chart.peek().detail) chart.value = { ...chart.peek(), detail: null }
  }

  /** @param {boolean} shown */
  setSuperseded(shown) {
    if (this.superseded.peek() === shown) return
    this.superseded.value = shown
    this.reload()
  }

  /**
   * A `StreamSeriesResponse`.
   *
   * @param {Api.StreamSeriesResponse} message
   */
  receive(message) {
    if (message.cut?.parent) this.#cut(message.cut)
    if (message.telemetry_sequence) this.position = Math.max(this.position, message.telemetry_sequence)
    if (!message.blocks?.length) return
    if (this.#inFlight > 0) this.#buffer.push(message)
    if (this.following.peek()) this.#moveAlong(message.blocks)
    for (const block of message.blocks) this.#fold(block, message.telemetry_sequence)
    this.#paintSoon()
  }

  /** @param {Api.PointBlock[]} blocks */
  #moveAlong(blocks) {
    const view = this.view.peek()
    const newest = Math.max(...blocks.map((block) => block.steps.at(-1) ?? 0))
    if (view && newest > view.to) this.view.value = { from: view.from + newest - view.to, to: newest }
  }

  /** @param {string} key */
  #want(key) {
    this.#wanted.add(key)
    if (this.#wanted.size > 1) return
    queueMicrotask(() => {
      const keys = [...this.#wanted]
      this.#wanted.clear()
      this.#load(keys).then(() => this.view.peek() && this.#loadDetail(keys))
    })
  }

  /**
   * @param {string[]} keys
   * @param {Query} range
   */
  async #query(keys, range) {
    this.queries += 1
    /** @type {string[][]} */
    const parts = []
    for (const key of keys) {
      const part = parts.at(-1)
      if (
        part &&
        part.length < keysAtOnce &&
        [...part, key].reduce((sum, one) => sum + encodeURIComponent(one).length, 0) <= keyCharacters
      )
        part.push(key)
      else parts.push([key])
    }
    const answers = await Promise.all(
      parts.map((part) =>
        get('/series:query', {
          parents: this.parents,
          keys: part,
          bucket_count: bucketLimit,
          include_superseded: this.superseded.peek(),
          ancestry: true,
          min_telemetry_sequence: this.position || undefined,
          ...range,
          ...this.asOf,
        }),
      ),
    )
    return {
      series: answers.flatMap((answer) => answer.series ?? []),
      position: Math.min(...answers.map((answer) => answer.telemetry_sequence ?? 0)),
    }
  }

  /** @param {string[]} keys */
  async #load(keys) {
    const generation = this.#generation
    this.#inFlight += 1
    try {
      const { series, position } = await this.#query(keys, {})
      if (generation !== this.#generation || this.#disposed) return
      if (!this.ready) {
        this.ready = true
        this.position = position
        this.onReady()
      }
      for (const key of keys) this.#place(key, series.filter((one) => one.key === key).map(decode), position)
    } catch (error) {
      if (generation !== this.#generation || this.#disposed) return
      for (const key of keys) this.#change(key, { loading: false, error: error.message })
      this.#reloadSoon(retryPause)
    } finally {
      this.#inFlight -= 1
      if (this.#inFlight === 0) this.#buffer = []
    }
  }

  /**
   * What came in while the question was under way is added, from where the answer ends.
   *
   * @param {string} key
   * @param {Series[]} overview
   * @param {number} position
   */
  #place(key, overview, position) {
    const chart = this.charts.get(key)
    if (!chart) return
    chart.value = { ...chart.peek(), overview, loading: false, error: '', position }
    for (const message of this.#buffer) {
      if (message.telemetry_sequence <= position) continue
      for (const block of message.blocks) if (block.key === key) this.#foldInto(chart, block)
    }
  }

  /** @param {string[]} [only] */
  async #loadDetail(only) {
    const view = this.view.peek()
    if (!view || this.parents.length === 0) return
    const zoomed = this.#zoomGeneration
    const keys = only ?? [...this.charts.keys()]
    const range = { first_step: Math.max(0, Math.ceil(view.from)), last_step: Math.max(1, Math.floor(view.to)) }
    try {
      const { series } = await this.#query(keys, range)
      if (zoomed !== this.#zoomGeneration || this.#disposed) return
      for (const key of keys)
        this.#change(key, { detail: series.filter((one) => one.key === key).map(decode), error: '' })
    } catch (error) {
      if (zoomed !== this.#zoomGeneration || this.#disposed) return
      for (const key of keys) this.#change(key, { error: error.message })
    }
  }

  /**
   * @param {string} key
   * @param {Partial<ChartState>} changes
   */
  #change(key, changes) {
    const chart = this.charts.get(key)
    if (chart) chart.value = { ...chart.peek(), ...changes }
  }

  /**
   * @param {Api.PointBlock} block
   * @param {number} sequence
   */
  #fold(block, sequence) {
    const chart = this.charts.get(block.key)
    const state = chart?.peek()
    // Not there yet: the answer that is under way has it, or the buffer does.
    if (!chart || !state || state.position === undefined || sequence <= state.position) return
    this.#foldInto(chart, block)
  }

  /**
   * @param {Signal<ChartState>} chart
   * @param {Api.PointBlock} block
   */
  #foldInto(chart, block) {
    const newest = this.#attempts.get(block.parent) ?? 0
    if ((block.attempt ?? 0) < newest) return
    const state = chart.peek()
    /** @param {Series} one */
    const lineage = (one) => one.parent === block.parent && !one.superseded
    let series = state.overview.find(lineage)
    if (!series) {
      series = empty(block.parent, block.key)
      state.overview.push(series)
    }
    if (block.steps.length > 0 && isLate(series, block.steps[0], block.times_ms[0])) {
      // Late points, sent again by whoever found them: only the server can put them in their place.
      this.#reloadSoon()
      return
    }
    const into = series
    const values = column(block, 'values')
    block.steps.forEach((step, i) => addPoint(into, step, values[i], block.times_ms[i], block.attempt))
    if (series.firstSteps.length > bucketLimit)
      state.overview[state.overview.indexOf(series)] = widen(series, bucketLimit)
    this.#followDetail(state, block)
    this.#dirty.add(chart)
  }

  /**
   * Live points inside the range one has zoomed to.
   *
   * @param {ChartState} state
   * @param {Api.PointBlock} block
   */
  #followDetail(state, block) {
    const view = this.view.peek()
    if (!state.detail || !view || block.steps[block.steps.length - 1] < view.from || block.steps[0] > view.to) return
    const series = state.detail.find((one) => one.parent === block.parent && !one.superseded)
    if (!series || isLate(series, block.steps[0], block.times_ms[0])) return
    const values = column(block, 'values')
    block.steps.forEach((step, i) => {
      if (step <= view.to) addPoint(series, step, values[i], block.times_ms[i], block.attempt)
    })
    if (series.firstSteps.length > bucketLimit) state.detail[state.detail.indexOf(series)] = widen(series, bucketLimit)
  }

  /** @param {Api.LineageCut} parts */
  #cut({ parent, attempt, restored_step: step }) {
    const newest = this.#attempts.get(parent) ?? 0
    if (attempt <= newest) return
    this.#attempts.set(parent, attempt)
    let anything = false
    /** @type {Signal<ChartState> | undefined} */
    for (const chart of this.charts.values()) {
      const state = chart.peek()
      const overview = state.overview.map((one) =>
        one.parent === parent && !one.superseded ? cutAfter(one, step, attempt) : one,
      )
      if (overview.every((one, i) => one === state.overview[i])) continue
      anything = true
      chart.value = { ...state, overview }
    }
    // The tail that was cut off comes back as an abandoned one.
    if (anything) this.#reloadSoon()
  }

  /** @param {number} [pause] */
  #reloadSoon(pause = 400) {
    clearTimeout(this.#reloadTimer)
    this.#reloadTimer = setTimeout(() => this.reload(), pause)
  }

  #paintSoon() {
    this.#paintTimer ??= setTimeout(() => {
      this.#paintTimer = undefined
      /** @type {Signal<ChartState> | undefined} */
      for (const chart of this.#dirty) chart.value = { ...chart.peek() }
      this.#dirty.clear()
    }, repaintInterval)
  }
}

/**
 * The step that is drawn nearest to `step` in the first series of a chart, or undefined.
 *
 * @param {ChartState} chart
 * @param {number} step
 */
export function nearestStep(chart, step) {
  const series = (chart.detail ?? chart.overview)[0]
  const index = series ? nearest(series, step) : -1
  return index === -1 ? undefined : series.lastSteps[index]
}
