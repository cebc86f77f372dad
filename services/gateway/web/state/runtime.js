// What the page of one runtime knows, kept live. The audit page fills the same object for a past moment.
import { batch, computed, signal } from '../vendor/signals.js'
import { get } from '../api.js'
import { Stream } from '../stream.js'
import { Cursor } from './cursor.js'
import { parameter } from './location.js'
import { SeriesStore } from './series_store.js'
import { mergeNewest } from '../functions/events.js'

export const fixedKeys = ['train/learning_rate', 'train/grad_norm', 'train/loss']
const eventsKept = 2000
const eventsAtFirst = 200

/** Queries and answers of one runtime. `past` is {as_of: ...}, or undefined for the present. */
export class RuntimeState {
  constructor(id, past) {
    this.id = id
    this.past = past
    this.runtime = signal(null)
    this.trials = signal([])
    this.estimate = signal(undefined)
    this.elapsed = signal({ seconds: undefined, at: performance.now() })
    this.receivedAt = new Map()
    this.events = signal([])
    this.eventsNext = signal('')
    this.completeness = signal(null)
    this.determinism = signal(null)
    this.seriesKeys = signal([])
    this.error = signal(null)
    this.logListeners = new Set()
    this.logPosition = undefined
    this.cursor = new Cursor()
    this.series = new SeriesStore({ asOf: past })
    this.trial = computed(() => chosenTrial(this.trials.value, Number(parameter('trial') || 0)))
    this.trialNumber = computed(() => this.trial.value?.trial ?? 0)
    this.stream = past ? undefined : new Stream(`/runtimes/${encodeURIComponent(id)}/stream`, this.#handlers())
    this.connection = past ? signal('past') : this.stream.state
  }

  #logsWanted = false
  #closed = false
  #seriesTimer
  #completenessTimer
  #openedTrial = 0

  close() {
    this.#closed = true
    this.stream?.close()
    this.series.dispose()
    clearTimeout(this.#seriesTimer)
    clearTimeout(this.#completenessTimer)
  }

  /** Ask for everything once, then follow. */
  async open() {
    for (const key of fixedKeys) this.series.chart(key)
    try {
      const [{ runtime }, trials] = await Promise.all([get(this.#path()), get(this.#path('/trials'), { page_size: 1000 })])
      if (this.#closed) return
      this.#setRuntime(runtime)
      this.setTrials(trials)
    } catch (error) {
      this.error.value = error
      return
    }
    await Promise.all([this.loadEvents(), this.openTrial()])
  }

  /** Show a past moment: `past` is {as_of: ...}. Returns the answer of `GetStateAt`. */
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
      await Promise.all([this.series.setParents([trial.name]), this.loadSeriesKeys()])
      this.loadCompleteness()
    }
    this.follow({ metrics: [this.series.position] })
    this.series.onReady = () => this.follow({ metrics: [this.series.position] })
  }

  /** (Re)open the stream with what is wanted now. */
  follow(positions = {}) {
    if (!this.stream || this.#closed) return
    const trial = this.#openedTrial
    const topics = ['runtime', 'trials', 'events', ...(trial && this.series.ready ? ['metrics'] : []), ...(trial && this.#logsWanted ? ['logs'] : [])]
    this.stream.subscribe(topics, { trial: trial || undefined }, positions)
  }

  /** Log lines from `cursor` on go to `listener`. Returns what ends it. */
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

  async loadSeriesKeys() {
    const trial = this.trial.peek()
    if (!trial || this.#closed) return
    try {
      const answer = await get(`/${trial.name}/series`, this.past)
      this.seriesKeys.value = answer.series ?? []
      this.series.firstOdd.value = new Map(this.seriesKeys.value.filter((one) => one.first_non_finite_step).map((one) => [one.key, one.first_non_finite_step]))
    } catch (error) {
      if (error.status !== 0) throw error
    }
    clearTimeout(this.#seriesTimer)
    if (!this.past) this.#seriesTimer = setTimeout(() => this.loadSeriesKeys(), this.seriesKeys.peek().length < 4 ? 3_000 : 20_000)
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

  setTrials({ trials = [], estimate, elapsed }) {
    batch(() => {
      for (const trial of trials) this.#receiveTrial(trial)
    })
    this.estimate.value = estimate
    this.elapsed.value = { seconds: elapsed, at: performance.now() }
  }

  /** A command answered with the runtime as it is now. */
  accept(runtime) {
    if (runtime) this.#setRuntime(runtime)
  }

  #path(rest = '') {
    return `/runtimes/${encodeURIComponent(this.id)}${rest}`
  }

  #setRuntime(runtime) {
    const known = this.runtime.peek()
    if (known && (known.sequence ?? 0) > (runtime.sequence ?? 0)) return
    this.runtime.value = { ...runtime, configuration_text: runtime.configuration_text || known?.configuration_text }
  }

  #receiveTrial(trial) {
    this.receivedAt.set(trial.trial, trial.received_at ?? performance.now())
    const trials = this.trials.peek()
    const at = trials.findIndex((one) => one.trial === trial.trial)
    this.trials.value = at === -1 ? [...trials, trial].sort((a, b) => a.trial - b.trial) : trials.with(at, trial)
  }

  #handlers() {
    return {
      runtime: ({ runtime }) => runtime && this.#setRuntime(runtime),
      trials: (message) => {
        if (message.trial) this.#receiveTrial(message.trial)
        if (message.runtime_elapsed !== undefined && message.runtime_elapsed !== null) {
          this.estimate.value = message.runtime_estimate
          this.elapsed.value = { seconds: message.runtime_elapsed, at: message.trial?.received_at ?? performance.now() }
        }
        if (this.trial.peek() && this.#openedTrial !== this.trial.peek().trial) this.openTrial()
      },
      events: ({ event }) => {
        if (event) this.events.value = mergeNewest(this.events.peek(), [event], eventsKept)
      },
      metrics: (message) => this.series.receive(message),
      logs: (message) => {
        for (const listener of this.logListeners) listener(message)
      },
    }
  }
}

/** The trial of that number; without one the first that runs, else the last that did anything. */
function chosenTrial(trials, number) {
  return (
    trials.find((trial) => trial.trial === number) ??
    trials.find((trial) => trial.status === 'Running') ??
    trials.findLast((trial) => (trial.progress?.step ?? 0) > 0) ??
    trials[0]
  )
}
