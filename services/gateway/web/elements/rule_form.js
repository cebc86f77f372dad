// @ts-check
// A new rule: a run and a series are chosen, the bound is moved on the real curve, and what it would have found is
// shown.
import { html, useEffect, useMemo, useSignal } from '../html.js'
import { get, post } from '../api.js'
import { decode } from '../functions/series.js'
import { detectorOf, firstBound, foundIn, idOf, selectorOf, spread } from '../functions/trying.js'
import { time } from '../functions/wire.js'
import { parameter, setParameters } from '../state/location.js'
import { Tested } from '../state/tested.js'
import { Action, Choice } from './button.js'
import { Problem } from './dialog.js'
import { RuleChart } from './rule_chart.js'
import { TestedRuns, daysAgo } from './rule_trial.js'

/**
 * @import { Series } from '../functions/series.js'
 * @import { Draft } from '../functions/trying.js'
 * @import { Signal } from '../vendor/signals.js'
 */
/** @typedef {Draft & { id: string, selector: string, severity: string, destination: string, hold: string }} Typed */

const buckets = 1000
const runsOffered = 200
const runsTried = 20
const daysTried = 90
const oneRunPause = 200
const manyRunsPause = 900
const usualKey = 'train/loss'
const kinds = [
  ['threshold', 'Threshold', 'A value above or below a bound'],
  ['change', 'Change', 'A value far from the median of those before it'],
]
const comparisons = [
  ['ABOVE', 'above'],
  ['BELOW', 'below'],
]
const directions = [
  ['UP', 'up'],
  ['DOWN', 'down'],
  ['', 'either'],
]
const severities = ['INFO', 'WARNING', 'CRITICAL']
const nothing = { comparison: 'ABOVE', value: '', window: '50', deviations: '8', direction: 'UP', kind: 'threshold' }

/**
 * `destinations`: whom rules may tell. `onMade` gets the id of the new rule.
 *
 * @param {{ destinations: string[], onMade: (id: string) => void }} properties
 */
export function RuleForm({ destinations, onMade }) {
  const { runs, keys, series, error } = useCurve()
  const runId = parameter('run')
  const key = parameter('new')
  const run = runs.find((one) => one.runtime_id === runId)
  /** @type {Signal<Typed>} */
  const typed = useSignal({
    ...{ ...nothing, series: key, id: '', selector: '', severity: 'WARNING', destination: '', hold: '0' },
  })
  /** @type {Signal<Error | null>} */
  const refused = useSignal(null)
  /** @type {Signal<string[]>} */
  const warnings = useSignal([])
  const change = (/** @type {Partial<Typed>} */ parts) => {
    typed.value = { ...typed.peek(), ...parts }
  }
  useEffect(() => {
    if (series) change({ series: key, value: String(firstBound(series.lasts, typed.peek().comparison)) })
  }, [series])
  useEffect(() => {
    change({ selector: selectorOf(run?.display_name ?? '') })
  }, [run?.display_name])
  const draft = { ...typed.value, series: key }
  const { here, everywhere, again } = useFound(draft, run, series)
  const rule = ruleOf(draft)
  const id = draft.id || idOf(draft)
  const create = async () => {
    refused.value = null
    const made = await post('/rules', { rule_id: id, rule })
    const told = /** @type {{ warnings?: string[] }} */ (/** @type {unknown} */ (made)).warnings ?? []
    warnings.value = told
    onMade(id)
  }
  const bounds = useMemo(
    () =>
      series && draft.kind === 'change'
        ? spread(series.lasts, {
            window: Math.min(buckets, Math.max(2, Number(draft.window) || 50)),
            deviations: Number(draft.deviations) || 8,
            direction: draft.direction,
          })
        : null,
    [series, draft.kind, draft.window, draft.deviations, draft.direction],
  )
  const firings = here.runs.value[0]?.firings ?? []
  return html`<form class="rule-form" onSubmit=${(event) => event.preventDefault()} aria-label="New rule">
    <${Problem} error=${error} />
    <${Where} runs=${runs} keys=${keys} run=${run} chosen=${key} />
    <${What} draft=${draft} change=${change} />
    ${
      series &&
      html`<${RuleChart}
        series=${series}
        draft=${draft}
        spread=${bounds}
        firings=${firings}
        stale=${here.busy.value}
        onMove=${change}
      />`
    }
    ${series && !series.raw && draft.kind === 'change' && html`<p class="hint">Drawn over buckets, so only nearly.</p>`}
    ${!series && !error && html`<p class="faint rule-chart-empty">${emptyText(runs, keys, key)}</p>`}
    <p class="rule-found" role="status" aria-busy=${here.busy.value}>
      ${here.error.value ? html`<span class="bad">${here.error.value.message}</span>` : series ? foundIn(firings) : ''}
    </p>
    <${Which} draft=${draft} id=${id} change=${change} destinations=${destinations} />
    <details class="rule-elsewhere" open>
      <summary>On the newest ${runsTried} runs that it selects</summary>
      <${TestedRuns} tested=${everywhere} />
      ${
        everywhere.slow.value &&
        html`<${Action} act=${again} label="Try it as it is now" working="Trying…" tone="small" />`
      }
    </details>
    <${Problem} error=${refused.value} />
    <div class="rule-form-end">
      <${Action}
        act=${create}
        label=${draft.destination ? 'Create, and tell' : 'Create, watching only'}
        working="Creating…"
        tone="primary"
        disabled=${!key}
        onError=${(failure) => (refused.value = failure)}
      />
      <button type="button" class="button" onClick=${closeForm}>Cancel</button>
    </div>
  </form>`
}

/**
 * The runs that may be chosen, the series of the chosen one, and the curve of the chosen series.
 *
 * @returns {{ runs: Api.Runtime[], keys: string[], series: Series | null, error: Error | null }}
 */
function useCurve() {
  /** @type {Signal<Api.Runtime[]>} */
  const runs = useSignal([])
  /** @type {Signal<string[]>} */
  const keys = useSignal([])
  /** @type {Signal<Series | null>} */
  const series = useSignal(null)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  const run = parameter('run')
  const trial = parameter('trial') || '1'
  const key = parameter('new')
  const fail = (/** @type {Error} */ failure) => (error.value = failure)
  useEffect(() => {
    get('/runtimes', { page_size: runsOffered }).then(({ runtimes }) => {
      runs.value = (runtimes ?? []).filter((one) => !one.imported)
      if (!parameter('run') && runs.value[0]) setParameters({ run: runs.value[0].runtime_id })
    }, fail)
  }, [])
  useEffect(() => {
    keys.value = []
    if (!run) return
    get(`/runtimes/${run}/trials/${trial}/series`).then((answer) => {
      keys.value = (answer.series ?? []).map((one) => one.key)
      const known = keys.value.includes(parameter('new'))
      if (!known) setParameters({ new: keys.value.includes(usualKey) ? usualKey : (keys.value[0] ?? 'yes') })
    }, fail)
  }, [run, trial])
  useEffect(() => {
    series.value = null
    if (!run || !keys.value.includes(key)) return
    get('/series:query', { parents: [`runtimes/${run}/trials/${trial}`], keys: [key], bucket_count: buckets }).then(
      (answer) => {
        const found = (answer.series ?? []).find((one) => !one.superseded)
        if (key === parameter('new')) series.value = found ? decode(found) : null
        error.value = null
      },
      fail,
    )
  }, [run, trial, key, keys.value])
  return { runs: runs.value, keys: keys.value, series: series.value, error: error.value }
}

/**
 * What a draft would have found in the chosen run, and in those that it selects: asked for anew while it is moved.
 *
 * @param {Typed} draft
 * @param {Api.Runtime | undefined} run
 * @param {Series | null} series
 */
function useFound(draft, run, series) {
  const here = useMemo(() => new Tested(), [])
  const everywhere = useMemo(() => new Tested(), [])
  useEffect(() => () => [here, everywhere].forEach((one) => one.close()), [])
  const rule = JSON.stringify(ruleOf(draft))
  useEffect(() => {
    if (!series || !run || draft.value === '') return
    const given = JSON.parse(rule)
    const begun = new Date((time(run.create_time) ?? 0) - 1000).toISOString()
    const alone = { ...given, selector: `id=${run.runtime_id}`, actions: [] }
    here.soon({ rule: alone, start_time: begun, max_runs: 1 }, oneRunPause)
    if (!everywhere.slow.peek()) everywhere.soon(wide(given), manyRunsPause)
  }, [rule, run?.runtime_id, series])
  return { here, everywhere, again: () => everywhere.ask(wide(JSON.parse(rule))) }
}

/**
 * What is asked for all runs that a rule selects.
 *
 * @param {object} rule
 */
function wide(rule) {
  return { rule, start_time: daysAgo(daysTried), max_runs: runsTried }
}

/**
 * A rule as it is sent.
 *
 * @param {Typed} typed
 */
function ruleOf(typed) {
  const told = typed.destination
  return {
    selector: typed.selector,
    detector: detectorOf(typed),
    severity: typed.severity,
    hold_seconds: Number(typed.hold) || 0,
    watching_only: !told,
    actions: told ? [{ notify: { destination: told } }] : [],
  }
}

/**
 * @param {Api.Runtime[]} runs
 * @param {string[]} keys
 * @param {string} key
 */
function emptyText(runs, keys, key) {
  if (runs.length === 0) return 'There is no run yet to draw a rule on.'
  return keys.length === 0 ? 'This run has no series yet.' : `Loading ${key}…`
}

/**
 * @param {{ runs: Api.Runtime[], keys: string[], run: Api.Runtime | undefined, chosen: string }} properties
 */
function Where({ runs, keys, run, chosen }) {
  const trials = Math.min(run?.trial_count ?? 1, runsOffered)
  /** @param {Happening<HTMLSelectElement>} event */
  const choose = (event) => setParameters({ run: event.target.value, trial: '' })
  return html`<div class="rule-fields">
    <label class="field">
      <span>Run</span>
      <select value=${run?.runtime_id ?? ''} onChange=${choose}>
        ${runs.map(
          ({ runtime_id: id, display_name: name }) => html`<option key=${id} value=${id}>${name} · ${id}</option>`,
        )}
      </select>
    </label>
    ${
      trials > 1 &&
      html`<label class="field narrow">
        <span>Trial</span>
        <select value=${parameter('trial') || '1'} onChange=${(event) => setParameters({ trial: event.target.value })}>
          ${Array.from({ length: trials }, (_, i) => html`<option key=${i} value=${String(i + 1)}>${i + 1}</option>`)}
        </select>
      </label>`
    }
    <label class="field">
      <span>Series</span>
      <select value=${chosen} onChange=${(event) => setParameters({ new: event.target.value })}>
        ${keys.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}
      </select>
    </label>
  </div>`
}

/** @param {{ draft: Typed, change: (parts: Partial<Typed>) => void }} properties */
function What({ draft, change }) {
  const isChange = draft.kind === 'change'
  return html`<div class="rule-fields">
    <div class="field">
      <span>Looks for</span>
      <${Choice} label="Looks for" value=${draft.kind} choices=${kinds} onChange=${(kind) => change({ kind })} />
    </div>
    ${
      isChange
        ? html`
            <div class="field">
              <span>Direction</span>
              <${Choice}
                label="Direction"
                value=${draft.direction}
                choices=${directions}
                onChange=${(direction) => change({ direction })}
              />
            </div>
            <${Numeric} label="Deviations" name="deviations" draft=${draft} change=${change} />
            <${Numeric} label="Window, points" name="window" draft=${draft} change=${change} />
          `
        : html`
            <div class="field">
              <span>Comparison</span>
              <${Choice}
                label="Comparison"
                value=${draft.comparison}
                choices=${comparisons}
                onChange=${(comparison) => change({ comparison })}
              />
            </div>
            <${Numeric} label="Value" name="value" draft=${draft} change=${change} />
          `
    }
    <${Numeric} label="Must hold for, s" name="hold" draft=${draft} change=${change} />
  </div>`
}

/**
 * @param {{
 *   label: string,
 *   name: 'value' | 'deviations' | 'window' | 'hold',
 *   draft: Typed,
 *   change: (parts: Partial<Typed>) => void,
 * }} properties
 */
function Numeric({ label, name, draft, change }) {
  return html`<label class="field narrow">
    <span>${label}</span>
    <input
      type="text"
      inputmode="decimal"
      name=${name}
      spellcheck="false"
      value=${draft[name]}
      aria-invalid=${!Number.isFinite(Number(draft[name]))}
      onInput=${(event) => change({ [name]: event.target.value })}
    />
  </label>`
}

/**
 * @param {{
 *   draft: Typed,
 *   id: string,
 *   change: (parts: Partial<Typed>) => void,
 *   destinations: string[],
 * }} properties
 */
function Which({ draft, id, change, destinations }) {
  return html`<div class="rule-fields">
    <label class="field">
      <span>Id</span>
      <input
        type="text"
        name="id"
        spellcheck="false"
        value=${draft.id}
        placeholder=${id}
        onInput=${(event) => change({ id: event.target.value })}
      />
    </label>
    <label class="field">
      <span>Watches the runs with</span>
      <input
        type="text"
        name="selector"
        spellcheck="false"
        value=${draft.selector}
        placeholder="all runs"
        onInput=${(event) => change({ selector: event.target.value })}
      />
    </label>
    <label class="field narrow">
      <span>Severity</span>
      <select value=${draft.severity} onChange=${(event) => change({ severity: event.target.value })}>
        ${severities.map((one) => html`<option key=${one} value=${one}>${one.toLowerCase()}</option>`)}
      </select>
    </label>
    ${
      destinations.length > 0 &&
      html`<label class="field narrow">
        <span>Tells</span>
        <select value=${draft.destination} onChange=${(event) => change({ destination: event.target.value })}>
          <option value="">nobody, watches only</option>
          ${destinations.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}
        </select>
      </label>`
    }
  </div>`
}

/** Let go of what was typed. */
export function closeForm() {
  setParameters({ new: '', run: '', trial: '' })
}
