// @ts-check
// What a search has found beside its best trial: how the best came about, what was given up where, what matters.
import { html, useEffect, useMemo, useSignal } from '../../html.js'
import { get, getAll } from '../../api.js'
import { count, plural, value as number } from '../../functions/format.js'
import { bestSoFar, front } from '../../functions/parallel.js'
import { scaleOf } from '../../functions/scales.js'
import { valueIn } from '../../functions/search.js'
import { titleOf } from '../../functions/plot.js'
import { number as double, time } from '../../functions/wire.js'
import { Dots } from './dots.js'
import { Family } from './family.js'

/**
 * @import { Signal } from '../../vendor/signals.js'
 * @import { Row } from '../../functions/parallel.js'
 * @import { RuntimeState } from '../../state/runtime.js'
 * @import { Dot, Line } from './dots.js'
 */
/**
 * @typedef {{
 *   rows: Row[],
 *   admitted: boolean[],
 *   rungs: Api.Rung[],
 *   sought: { metric: string, mode: string }[],
 *   metric: string,
 *   mode: string,
 *   marked: number,
 *   onMark: (trial: number) => void,
 *   onOpen: (trial: number) => void,
 * }} Given
 */

// Trials whose series one request may name.
const atOnce = 50
const refreshPause = 5_000
const hour = 3_600_000
// More points than these would lie on each other at a rung.
const crowded = 40
// Rungs of which each lies at a multiple of the step before.
const wideFrom = 4

/**
 * Rungs and importances of a search, asked for again while it goes on.
 *
 * @param {RuntimeState} state
 */
export function useHistory(state) {
  /** @type {Signal<Api.Rung[]>} */
  const rungs = useSignal([])
  /** @type {Signal<Api.GetImportancesResponse | null>} */
  const importances = useSignal(null)
  const search = state.runtime.value?.configuration?.search
  const sampled = Boolean(search?.objective ?? search?.objectives?.length)
  const pruned = Boolean(search?.pruner)
  useEffect(() => {
    if (!sampled) return
    let going = true
    /** @type {Timer} */
    let timer
    const ask = async () => {
      const path = /** @type {`/runtimes/${string}`} */ (`/runtimes/${encodeURIComponent(state.id)}`)
      // Without an answer what is known stays; the rest of the page says when the server is away.
      const [found, shares] = await Promise.all([
        pruned ? getAll(`${path}/rungs`, 'rungs', state.past).catch(() => undefined) : undefined,
        state.past ? undefined : get(`${path}/importances`).catch(() => undefined),
      ])
      if (!going) return
      if (found && (found.rungs?.length ?? 0) !== rungs.peek().length) rungs.value = found.rungs ?? []
      if (shares && shares.value_count !== importances.peek()?.value_count) importances.value = shares
      if (!state.past) timer = setTimeout(again, refreshPause)
    }
    const again = () => {
      if (!document.hidden && state.runtime.peek()?.status === 'Started') ask()
      else timer = setTimeout(again, refreshPause)
    }
    ask()
    return () => {
      going = false
      clearTimeout(timer)
    }
  }, [state, sampled, pruned])
  return { rungs: rungs.value, importances: importances.value }
}

/** @param {Given & { importances: Api.GetImportancesResponse | null, state: RuntimeState }} properties */
export function Findings({ importances, state, ...given }) {
  return html`<div class="findings">
    <${BestSoFar} ...${given} />
    ${given.rungs.length > 0 && html`<${Rungs} ...${given} />`}
    <${Family} ...${given} />
    ${importances && html`<${Importances} found=${importances} />`}
    <${Scatter} ...${given} state=${state} />
  </div>`
}

/** @param {Given} properties */
function BestSoFar({ rows, admitted, metric, mode, marked, onMark, onOpen }) {
  const byTime = useSignal(false)
  const began = useMemo(() => Math.min(...rows.map(({ trial }) => time(trial.start_time) ?? Infinity)), [rows])
  const { dots, best, x, y } = useMemo(() => {
    const name = byTime.value ? 'Hours' : 'Trial'
    const points = rows
      .map(({ trial, value }, i) => ({
        x: byTime.value ? (Number(time(trial.end_time) ?? NaN) - began) / hour : Number(trial.trial),
        y: Number(value ?? NaN),
        i,
      }))
      .filter((one) => Number.isFinite(one.x) && Number.isFinite(one.y))
      .sort((a, b) => a.x - b.x)
    const told = points.filter(({ i }) => rows[i].trial.suggestion?.outcome !== 'PRUNED')
    return {
      dots: points.map(({ x, y, i }) => ({ x, y, faint: !admitted[i], ...look(rows[i].trial) })),
      best: bestSoFar(told, mode),
      x: scaleOf(
        name,
        points.map((one) => one.x),
        { log: false },
      ),
      y: scaleOf(
        metric,
        points.map((one) => one.y),
      ),
    }
  }, [rows, admitted, byTime.value, metric, mode])
  const last = best.at(-1)
  return html`<${Dots}
    title="Best so far"
    controls=${html`<span class="choice" role="group" aria-label="Over what">
      ${[false, true].map(
        (one) => html`<button type="button" aria-pressed=${byTime.value === one} onClick=${() => (byTime.value = one)}>
          ${one ? 'by time' : 'by trial'}
        </button>`,
      )}
    </span>`}
    note=${last ? html`${titleOf(metric)} ${number(last.y)} · a cross was pruned` : 'No trial has a value yet.'}
    dots=${dots}
    lines=${useMemo(() => [{ points: best, colour: '--accent', width: 2.2, steps: true }], [best])}
    x=${x}
    y=${y}
    ...${{ marked, onMark, onOpen }}
  />`
}

/**
 * How a trial looks in a chart of points.
 *
 * @param {Api.Trial} trial
 * @returns {Pick<Dot, 'trial' | 'colour' | 'shape' | 'words'>}
 */
function look(trial) {
  const { suggestion } = trial
  if (suggestion?.outcome === 'PRUNED')
    return { trial: trial.trial, colour: '--waiting', shape: 'cross', words: suggestion.detail }
  return {
    trial: trial.trial,
    colour: suggestion?.best ? '--series-2' : '--muted',
    shape: suggestion?.best ? 'ring' : 'dot',
    words: suggestion?.best ? 'the best' : '',
  }
}

/** @param {Given} properties */
function Rungs({ rows, admitted, rungs, metric, marked, onMark, onOpen }) {
  const { dots, lines, x, y, prunedCount } = useMemo(() => {
    const shown = new Map(rows.map(({ trial }, i) => [trial.trial, admitted[i]]))
    const points = rungs
      .map((rung) => ({ ...rung, x: rung.step, y: double(rung.value) ?? NaN }))
      .filter((one) => Number.isFinite(one.y))
    const steps = points.map((one) => one.x)
    /** @type {Map<number, typeof points>} */
    const perTrial = new Map()
    for (const point of points) perTrial.set(point.trial, [...(perTrial.get(point.trial) ?? []), point])
    /** @type {Line[]} */
    const ways = [...perTrial]
      .filter(([trial, list]) => list.length > 1 && shown.get(trial))
      .map(([, points]) => ({ points, colour: '--faint', width: 1, alpha: 0 }))
    for (const way of ways) way.alpha = Math.max(0.06, Math.min(0.4, 25 / ways.length))
    return {
      dots: points.map((one) => {
        const { verdict } = one
        const at = `at rung ${one.rung}`
        const place = verdict ? `${verdict.rank} of ${verdict.reached_count}` : ''
        /** @type {Dot} */
        const dot = {
          x: one.x,
          y: one.y,
          trial: one.trial,
          colour: verdict ? '--failed' : '--completed',
          shape: verdict ? 'cross' : 'dot',
          faint: !shown.get(one.trial),
          shift: points.length > crowded ? ((one.trial * 37) % 21) - 10 : 0,
          words: verdict ? `pruned ${at}: cut-off ${number(double(verdict.cut_off))}, ${place}` : `went on ${at}`,
        }
        return dot
      }),
      lines: [...ways, ...cutOffs(rungs), ...weights(rows, perTrial)],
      x: scaleOf('Step', steps, { log: Math.max(...steps) / Math.min(...steps) >= wideFrom }),
      y: scaleOf(
        metric,
        points.map((one) => one.y),
      ),
      prunedCount: rungs.filter((one) => one.verdict).length,
    }
  }, [rows, admitted, rungs, metric])
  const trials = new Set(rungs.map((one) => one.trial)).size
  return html`<${Dots}
    title="Rungs"
    note=${`${plural(trials, 'trial')}, ${count(prunedCount)} pruned (crosses); dashed: the last cut-offs`}
    ...${{ dots, lines, x, y, marked, onMark, onOpen }}
  />`
}

/**
 * From the rung of each donor to the first one of whoever began with its weights there.
 *
 * @param {Row[]} rows
 * @param {Map<number, { rung: number, x: number, y: number }[]>} perTrial
 * @returns {Line[]}
 */
function weights(rows, perTrial) {
  return rows.flatMap(({ trial }) => {
    const [first] = perTrial.get(trial.trial) ?? []
    const from = perTrial.get(trial.suggestion?.donor ?? 0)?.find((one) => one.rung === (first?.rung ?? 0) - 1)
    return first && from ? [{ points: [from, first], colour: '--accent', width: 1.2, alpha: 0.6 }] : []
  })
}

/**
 * The last cut-off at each step at which something was pruned, as one line.
 *
 * @param {Api.Rung[]} rungs
 * @returns {Line[]}
 */
function cutOffs(rungs) {
  /** @type {Map<number, number>} */
  const last = new Map()
  for (const { step, verdict } of rungs) {
    const value = double(verdict?.cut_off)
    if (value !== undefined && Number.isFinite(value)) last.set(step, value)
  }
  const points = [...last].sort(([a], [b]) => a - b).map(([x, y]) => ({ x, y }))
  return points.length > 1 ? [{ points, colour: '--ink', width: 1.5, dashed: true }] : []
}

/** @param {{ found: Api.GetImportancesResponse }} properties */
function Importances({ found }) {
  const shares = found.importances ?? []
  return html`<section class="importances" aria-label="Importance of parameters">
    <h3 class="chart-title">Importance of parameters</h3>
    ${
      shares.length > 0
        ? html`<ol>
            ${shares.map(
              ({ parameter, share }) => html`<li key=${parameter}>
                <span class="importance-name" title=${parameter}>${parameter}</span>
                <span class="importance-bar"><span style=${{ transform: `scaleX(${share})` }}></span></span>
                <span class="importance-share">${Math.round(Number(share) * 100)} %</span>
              </li>`,
            )}
          </ol>`
        : html`<p class="faint">Known from 10 values on; there are ${count(found.value_count ?? 0)}.</p>`
    }
    <p class="chart-foot">
      ${shares.length > 0 && `Of ${plural(found.value_count ?? 0, 'value')}, by ${found.method}`}
    </p>
  </section>`
}

/** @param {Given & { state: RuntimeState }} properties */
function Scatter({ rows, admitted, sought, metric, marked, onMark, onOpen, state }) {
  const across = useSignal(sought[1]?.metric ?? 'Running time')
  const up = useSignal(metric)
  /** @type {Signal<Map<string, Map<number, number>>>} */
  const fetched = useSignal(new Map())
  const modes = useSignal(/** @type {Record<string, 'MIN' | 'MAX'>} */ ({}))
  const known = new Map(sought.map((one) => [one.metric, one.mode]))
  const series = state.seriesKeys.value.map((one) => one.key ?? '').filter((key) => key && !known.has(key))
  const axes = [...known.keys(), 'Running time', 'Steps', ...series]
  useEffect(() => {
    for (const key of [across.value, up.value])
      if (series.includes(key) && !fetched.peek().has(key))
        lastValues(rows, key).then(
          (found) => (fetched.value = new Map(fetched.peek()).set(key, found)),
          // The chart stays without points, and another choice asks again.
          () => undefined,
        )
  }, [across.value, up.value])
  /** @param {string} key */
  const modeOf = (key) => modes.value[key] ?? /** @type {'MIN' | 'MAX'} */ (known.get(key) ?? guess(key))
  const { dots, lines, x, y, best } = useMemo(() => {
    /** @param {Row} row @param {string} key */
    const read = ({ trial, value }, key) => {
      if (key === metric) return Number(value ?? NaN)
      if (known.has(key)) return Number(valueIn(trial, key) ?? NaN)
      if (key === 'Running time') return Number(trial.elapsed ?? NaN)
      if (key === 'Steps') return trial.progress?.step ?? NaN
      return fetched.value.get(key)?.get(trial.trial) ?? NaN
    }
    const points = rows
      .map((row, i) => ({ i, trial: row.trial, x: Number(read(row, across.value)), y: Number(read(row, up.value)) }))
      .filter((one) => Number.isFinite(one.x) && Number.isFinite(one.y))
    const done = points.filter(({ trial }) => trial.status === 'Completed' && !trial.suggestion?.infeasible)
    const best = front(done, { x: modeOf(across.value), y: modeOf(up.value) })
    const onFront = new Set(best.map((one) => one.trial.trial))
    return {
      dots: points.map(({ i, trial, x, y }) => {
        const wins = onFront.has(trial.trial)
        /** @type {Dot} */
        const dot = wins
          ? {
              x,
              y,
              trial: trial.trial,
              colour: '--series-2',
              shape: 'ring',
              faint: !admitted[i],
              words: 'on the front',
            }
          : { x, y, faint: !admitted[i], ...look(trial) }
        return dot
      }),
      lines: best.length > 1 ? [{ points: best, colour: '--series-2', width: 1.6, steps: true, alpha: 0.7 }] : [],
      x: scaleOf(
        across.value,
        points.map((one) => one.x),
      ),
      y: scaleOf(
        up.value,
        points.map((one) => one.y),
      ),
      best,
    }
  }, [rows, admitted, across.value, up.value, modes.value, fetched.value, metric])
  /** @param {string} key */
  const turn = (key) => (modes.value = { ...modes.value, [key]: modeOf(key) === 'MIN' ? 'MAX' : 'MIN' })
  /** @param {Signal<string>} chosen @param {string} label */
  const pick = (chosen, label) =>
    html`<label class="field inline dots-pick">
      <span class="off-screen">${label}</span>
      <select
        value=${chosen.value}
        onChange=${(/** @type {Happening<HTMLSelectElement>} */ event) => (chosen.value = event.target.value)}
      >
        ${axes.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}
      </select>
      <button
        type="button"
        class="quiet"
        title="Which is better"
        aria-label=${`${chosen.value}: ${better(modeOf(chosen.value))} is better`}
        onClick=${() => turn(chosen.value)}
      >
        ${modeOf(chosen.value) === 'MIN' ? '↓' : '↑'}
      </button>
    </label>`
  return html`<${Dots}
    title="Two measures"
    controls=${html`${pick(up, 'Upwards')}<span class="faint">over</span>${pick(across, 'Across')}`}
    note=${`${plural(best.length, 'trial')} on the front (rings): none is better in both; ↓ smaller is better`}
    ...${{ dots, lines, x, y, marked, onMark, onOpen }}
  />`
}

/** @param {'MIN' | 'MAX'} mode */
function better(mode) {
  return mode === 'MIN' ? 'smaller' : 'larger'
}

/**
 * @param {string} key
 * @returns {'MIN' | 'MAX'}
 */
function guess(key) {
  return /accuracy|score|f1|auc|bleu|per_second|reward/i.test(key) ? 'MAX' : 'MIN'
}

/**
 * The last value of a series in each trial, by number.
 *
 * @param {Row[]} rows
 * @param {string} key
 */
async function lastValues(rows, key) {
  const names = rows.map(({ trial }) => trial.name)
  const groups = Array.from({ length: Math.ceil(names.length / atOnce) }, (_, i) =>
    names.slice(i * atOnce, (i + 1) * atOnce),
  )
  /** @type {Map<number, number>} */
  const found = new Map()
  for (const [first, ...rest] of groups) {
    const answer = await get(`/${first}/series`, { parents: rest, keys: [key] })
    for (const one of answer.series ?? [])
      found.set(Number((one.parent ?? '').split('/').at(-1)), double(one.last) ?? NaN)
  }
  return found
}
