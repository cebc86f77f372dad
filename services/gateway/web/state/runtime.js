// @ts-check
// What the page of one runtime knows, kept live. The audit page fills the same object for a past moment.
import { batch, computed, signal } from '../vendor/signals.js'
import { get, getAll } from '../api.js'
import { Stream } from '../stream.js'
import { Cursor } from './cursor.js'
import { parameter } from './location.js'
import { SeriesStore } from './series_store.js'
import { mergeNewest } from '../functions/events.js'
import { objective, ranked, valueOf } from '../functions/search.js'

/**
 * @import { Connection, Handlers } from '../stream.js'
 * @import { ReadonlySignal, Signal } from '../vendor/signals.js'
 */
/** @typedef {{ as_of?: string }} Past */
/** @typedef {Pick<Api.Trial, 'markers' | 'lineage' | 'redone' | 'instances' | 'steerables'>} History */

export const fixedKeys = ['train/learning_rate', 'train/grad_norm', 'train/loss']
const eventsKept = 2000
const settledSteps = 100
const overStatuses = ['Completed', 'Failed']
const eventsAtFirst = 200
const firingsPause = 500
const historyPause = 500
const trialsPause = 100

/**
 * Whether a trial takes no further step.
 *
 * @param {Api.Trial | null | undefined} trial
 */
export function isOver(trial) {
  return overStatuses.includes(trial?.status ?? '')
}

/** Queries and answers of one runtime. `past` is {as_of: ...}, or undefined for the present. */
export class RuntimeState {
  /**
   * @param {string} id
   * @param {Past} [past]
   */
  constructor(id, past) {
    this.id = id
    this.past = past
    /** @type {Signal<Api.Runtime | null>} */
    this.runtime = signal(null)
    /** @type {Signal<Api.Trial[]>} */
    this.trials = signal([])
    /** @type {Signal<Api.Estimate | null | undefined>} */
    this.estimate = signal(undefined)
    /** @type {Signal<{ seconds: number | null | undefined, at: number }>} */
    this.elapsed = signal({ seconds: undefined, at: performance.now() })
    /** @type {Map<number, number>} */
    this.receivedAt = new Map()
    // What lists of trials leave out, of those that were looked at.
    /** @type {Map<number, History>} */
    this.histories = new Map()
    /** @type {Signal<Api.RecordedEvent[]>} */
    this.events = signal([])
    this.eventsNext = signal('')
    /** @type {Signal<Api.Firing[]>} */
    this.firings = signal([])
    /** @type {Signal<Api.GetCompletenessResponse | null>} */
    this.completeness = signal(null)
    /** @type {Signal<Api.CheckDeterminismResponse | null>} */
    this.determinism = signal(null)
    /** @type {Signal<Api.SeriesSummary[]>} */
    this.seriesKeys = signal([])
    // Whether the run was far enough when they were asked for, so that what is not among them will not come any more.
    this.seriesSettled = signal(false)
    /** @type {Signal<Error | null>} */
    this.error = signal(null)
    /** @type {Set<(message: Api.StreamLogsResponse) => void>} */
    this.logListeners = new Set()
    this.cursor = new Cursor()
    this.series = new SeriesStore({ asOf: past })
    this.trial = computed(() => chosenTrial(this.runtime.value, this.trials.value, Number(parameter('trial') || 0)))
    this.trialNumber = computed(() => this.trial.value?.trial ?? 0)
    this.stream = past ? undefined : new Stream(`/runtimes/${encodeURIComponent(id)}/stream`, this.#handlers())
    /** @type {ReadonlySignal<Connection>} */
    this.connection = this.stream?.state ?? signal('past')
  }

  #logsWanted = false
  #closed = false
  /** @type {Timer} */
  #seriesTimer
  /** @type {Timer} */
  #completenessTimer
  /** @type {Timer} */
  #firingsTimer
  /** @type {Timer} */
  #historyTimer
  /** @type {Map<number, Api.Trial>} */
  #pendingTrials = new Map()
  /** @type {Timer} */
  #trialsTimer
  #openedTrial = 0
  #historySequence = 0

  close() {
    this.#closed = true
    this.stream?.close()
    this.series.dispose()
    clearTimeout(this.#seriesTimer)
    clearTimeout(this.#completenessTimer)
    clearTimeout(this.#firingsTimer)
    clearTimeout(this.#historyTimer)
    clearTimeout(this.#trialsTimer)
  }

  /** Ask for everything once, then follow. */
  async open() {
    for (const key of fixedKeys) this.series.chart(key)
    try {
      const [{ runtime }, trials] = await Promise.all([
        get(this.#path()),
        get(this.#path('/trials'), { page_size: 1000, brief: true }),
      ])
      if (this.#closed) return
      if (runtime) this.#setRuntime(runtime)
      this.setTrials(trials)
    } catch (error) {
      this.error.value = error
      return
    }
    await Promise.all([this.loadEvents(), this.openTrial(), this.loadFirings()])
  }

  /**
   * Show a past moment: `past` is {as_of: ...}. Returns the answer of `GetStateAt`.
   *
   * @param {Past} past
   */
  async showPast(past) {
    this.past = past
    this.series.asOf = past
    const state = await get(`${this.#path()}:state`, past)
    if (this.#closed) return state
    batch(() => {
      this.runtime.value = state.runtime
      this.trials.value = []
      this.setTrials({ trials: state.trials })
    })
    const trial = this.trial.peek()
    if (!trial) return state
    if (this.series.parents.join() === trial.name) await this.series.reload()
    else await Promise.all([this.series.setParents([trial.name]), this.loadSeriesKeys()])
    return state
  }

  /** Follow the chosen trial: its series, its log. */
  async openTrial() {
    const trial = this.trial.peek()
    this.#openedTrial = trial?.trial ?? 0
    if (trial) {
      await Promise.all([this.series.setParents([trial.name]), this.loadSeriesKeys(), this.#loadHistory()])
      this.loadCompleteness()
    }
    this.follow({ metrics: [this.series.position] })
    this.series.onReady = () => this.follow({ metrics: [this.series.position] })
  }

  /**
   * (Re)open the stream with what is wanted now.
   *
   * @param {Record<string, (string | number)[] | null>} [positions]
   */
  follow(positions = {}) {
    if (!this.stream || this.#closed) return
    const trial = this.#openedTrial
    const topics = [
      'runtime',
      'trials',
      'events',
      ...(trial && this.series.ready ? ['metrics'] : []),
      ...(trial && this.#logsWanted ? ['logs'] : []),
    ]
    this.stream.subscribe(topics, { trial: trial || undefined, brief: true }, positions)
  }

  /**
   * Log lines from `cursor` on go to `listener`. Returns what ends it.
   *
   * @param {string} cursor
   * @param {(message: Api.StreamLogsResponse) => void} listener
   */
  followLogs(cursor, listener) {
    this.#logsWanted = true
    this.logListeners.add(listener)
    this.follow({ logs: cursor ? [cursor] : null })
    return () => {
      this.logListeners.delete(listener)
      if (this.logListeners.size > 0) return
      this.#logsWanted = false
      this.follow()
    }
  }

  /** @param {boolean} [more] */
  async loadEvents(more = false) {
    const answer = await get(this.#path('/events'), {
      newest_first: true,
      page_size: eventsAtFirst,
      page_token: more ? this.eventsNext.peek() : undefined,
      ...this.past,
    })
    const events = (answer.events ?? []).filter(Boolean)
    this.events.value = mergeNewest(this.events.peek(), events, eventsKept)
    this.eventsNext.value = answer.next_page_token ?? ''
    if (!more && this.stream) this.follow({ events: [answer.sequence ?? events[0]?.sequence ?? 0] })
  }

  /** What rules found in it. Without the rule service it is not known, and the page is no worse for that. */
  async loadFirings() {
    const asked = { runtime: `runtimes/${this.id}`, page_size: 1000 }
    const answer = await get('/rules/-/firings', asked).catch(() => undefined)
    if (answer && !this.#closed) this.firings.value = answer.firings ?? []
  }

  async loadSeriesKeys() {
    const trial = this.trial.peek()
    if (!trial || this.#closed) return
    const settled = isOver(trial) || (trial.progress?.step ?? 0) >= settledSteps
    try {
      const answer = await getAll(`/${trial.name}/series`, 'series', this.past)
      this.seriesKeys.value = answer.series
      // While it runs its steps are known before its points are stored.
      this.seriesSettled.value = settled && (isOver(trial) || answer.series.length > 0)
      this.series.firstOdd.value = new Map(
        this.seriesKeys.value
          .filter((one) => one.first_non_finite_step)
          .map((one) => [one.key, one.first_non_finite_step]),
      )
    } catch (error) {
      if (error.status !== 0) throw error
    }
    clearTimeout(this.#seriesTimer)
    if (!this.past)
      this.#seriesTimer = setTimeout(() => this.loadSeriesKeys(), this.seriesKeys.peek().length < 4 ? 3_000 : 20_000)
  }

  async loadCompleteness() {
    const trial = this.trial.peek()
    if (!trial || this.past || this.#closed) return
    // What fails is shown as unknown; the rest of the page says when the server is away.
    const orUnknown = () => null
    this.completeness.value = await get(`/${trial.name}/completeness`).catch(orUnknown)
    // Only a resume makes steps run twice.
    this.determinism.value = trial.attempt > 1 ? await get(`/${trial.name}/determinism`).catch(orUnknown) : null
    clearTimeout(this.#completenessTimer)
    this.#completenessTimer = setTimeout(() => this.loadCompleteness(), document.hidden ? 30_000 : 5_000)
  }

  /** @param {{ trials?: Api.Trial[], estimate?: Api.Estimate | null, elapsed?: number | null }} parts */
  setTrials({ trials = [], estimate, elapsed }) {
    this.#receiveTrials(trials)
    this.estimate.value = estimate
    this.elapsed.value = { seconds: elapsed, at: performance.now() }
  }

  /**
   * A command answered with the runtime as it is now.
   *
   * @param {Api.Runtime | null | undefined} runtime
   */
  accept(runtime) {
    if (runtime) this.#setRuntime(runtime)
  }

  /**
   * @template {string} [Rest='']
   * @param {Rest} [rest]
   * @returns {`/runtimes/${string}${Rest}`}
   */
  #path(rest) {
    return `/runtimes/${encodeURIComponent(this.id)}${/** @type {Rest} */ (rest ?? '')}`
  }

  /** @param {Api.Runtime} runtime */
  #setRuntime(runtime) {
    const known = this.runtime.peek()
    if (known && (known.sequence ?? 0) > (runtime.sequence ?? 0)) return
    const changed = known && known.configuration_digest !== runtime.configuration_digest
    // The stream says neither text; a resume may have changed the configuration.
    const { configuration_text: given, resolved_text: resolved } = known ?? {}
    this.runtime.value = {
      ...runtime,
      configuration_text: runtime.configuration_text || given || '',
      resolved_text: runtime.resolved_text || (!changed && resolved) || '',
    }
    if (changed && !runtime.resolved_text)
      get(this.#path()).then(
        (answer) => !this.#closed && answer.runtime && this.#setRuntime(answer.runtime),
        (error) => (this.error.value = error),
      )
  }

  /** @param {Api.Trial[]} trials */
  #receiveTrials(trials) {
    if (trials.length === 0) return
    const now = performance.now()
    const known = new Map(this.trials.peek().map((one) => [one.trial, one]))
    for (const trial of trials) {
      this.receivedAt.set(trial.trial, trial.received_at ?? now)
      known.set(trial.trial, { ...trial, ...this.histories.get(trial.trial) })
    }
    this.trials.value = [...known.values()].sort((a, b) => a.trial - b.trial)
  }

  /**
   * A search of a thousand trials tells each of them when the stream begins: those that come together are taken in
   * together. One that comes alone is taken in at once.
   *
   * @param {Api.Trial} trial
   */
  #receiveSoon(trial) {
    this.#pendingTrials.set(trial.trial, trial)
    if (this.#trialsTimer !== undefined) return
    this.#flushTrials()
    this.#trialsTimer = setTimeout(() => {
      this.#trialsTimer = undefined
      if (!this.#closed) this.#flushTrials()
    }, trialsPause)
  }

  #flushTrials() {
    const pending = [...this.#pendingTrials.values()]
    this.#pendingTrials.clear()
    this.#receiveTrials(pending)
    const chosen = this.trial.peek()
    if (!chosen || pending.length === 0) return
    if (this.#openedTrial !== chosen.trial) this.openTrial()
    else if (pending.some((one) => one.trial === chosen.trial && one.events_sequence > this.#historySequence))
      this.#historyTimer ??= setTimeout(() => {
        this.#historyTimer = undefined
        this.#loadHistory()
      }, historyPause)
  }

  /** What of the chosen trial changes with events alone, and is too much for each message. */
  async #loadHistory() {
    const chosen = this.trial.peek()
    if (!chosen || this.past || this.#closed) return
    const answer = await get(`/${chosen.name}`).catch(() => undefined)
    if (!answer?.trial || this.#closed) return
    const { trial, markers, lineage, redone, instances, steerables, events_sequence } = answer.trial
    this.histories.set(trial, { markers, lineage, redone, instances, steerables })
    this.#historySequence = events_sequence
    const known = this.trials.peek().find((one) => one.trial === trial)
    if (known) this.#receiveTrials([{ ...known, received_at: this.receivedAt.get(trial) }])
  }

  #handlers() {
    /** @type {Handlers} */
    const handlers = {
      runtime: ({ runtime }) => runtime && this.#setRuntime(runtime),
      trials: (message) => {
        if (message.trial) this.#receiveSoon(message.trial)
        if (message.runtime_elapsed !== undefined && message.runtime_elapsed !== null) {
          this.estimate.value = message.runtime_estimate
          this.elapsed.value = { seconds: message.runtime_elapsed, at: message.trial?.received_at ?? performance.now() }
        }
      },
      events: ({ event }) => {
        if (!event) return
        this.events.value = mergeNewest(this.events.peek(), [event], eventsKept)
        if (!event.rule_event) return
        // They come in bursts.
        clearTimeout(this.#firingsTimer)
        this.#firingsTimer = setTimeout(() => this.loadFirings(), firingsPause)
      },
      metrics: (message) => this.series.receive(message),
      logs: (message) => {
        for (const listener of this.logListeners) listener(message)
      },
    }
    return handlers
  }
}

/**
 * The trial of that number; without one the first that runs, else the best of a search, else the last that did
 * anything.
 *
 * @param {Api.Runtime | null} runtime
 * @param {Api.Trial[]} trials
 * @param {number} number
 * @returns {Api.Trial | undefined}
 */
function chosenTrial(runtime, trials, number) {
  const chosen = trials.find((trial) => trial.trial === number) ?? trials.find((trial) => trial.status === 'Running')
  if (chosen) return chosen
  const best = trials.length > 1 ? ranked(trials, objective(runtime, trials).mode)[0] : undefined
  return (
    (best && valueOf(best) !== undefined ? best : undefined) ??
    trials.findLast((trial) => (trial.progress?.step ?? 0) > 0) ??
    trials[0]
  )
}
