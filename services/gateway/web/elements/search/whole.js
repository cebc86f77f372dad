// @ts-check
// A whole search: all trials over their parameters, those within the brushes as a table and as curves, what was found.
import { html, useMemo, useSignal } from '../../html.js'
import { count } from '../../functions/format.js'
import {
  admits,
  brushesFromText,
  brushesToText,
  lastRungs,
  parallel,
  shades as shadesOf,
} from '../../functions/parallel.js'
import { coloursBy } from '../../functions/searched.js'
import { parameter, setParameters } from '../../state/location.js'
import { Curves } from './curves.js'
import { Findings, useHistory } from './findings.js'
import { Matrix } from './matrix.js'
import { BrushChips, Parallel } from './parallel.js'
import { Ranking } from './ranking.js'

/**
 * @import { Signal } from '../../vendor/signals.js'
 * @import { Brushes } from '../../functions/parallel.js'
 * @import { RuntimeState } from '../../state/runtime.js'
 */

/**
 * @param {{
 *   state: RuntimeState,
 *   trials: Api.Trial[],
 *   sought: { metric: string, mode: string }[],
 *   name: string,
 *   names: string[],
 *   choose: (name: string) => void,
 *   open: (trial: number) => void,
 * }} properties
 */
export function WholeSearch({ state, trials, sought, name, names, choose, open }) {
  const { rungs, importances } = useHistory(state)
  const [{ metric, mode }] = sought
  const atLast = useMemo(() => lastRungs(rungs), [rungs])
  const space = state.runtime.value?.configuration?.search?.space
  const order = useMemo(() => (importances?.importances ?? []).map((one) => one.parameter ?? ''), [importances])
  const { rows, scales } = useMemo(
    () =>
      parallel(
        trials,
        sought.map((one) => one.metric),
        { space: /** @type {Record<string, unknown>} */ (space), rungs: atLast, order },
      ),
    [trials, sought.map((one) => one.metric).join(), space, atLast, order],
  )
  const shades = useMemo(() => shadesOf(rows, mode), [rows, mode])
  /** @type {Signal<Brushes>} */
  const brushes = useSignal(brushesFromText(parameter('brush')))
  const marked = useSignal(0)
  const admitted = useMemo(() => rows.map((row) => admits(row, scales, brushes.value)), [rows, scales, brushes.value])
  const best = shades.indexOf(0) === -1 ? -1 : bestOf(rows, mode)
  /** @param {string} axis @param {[number, number] | null} brush @param {boolean} moving */
  const onBrush = (axis, brush, moving) => {
    const next = new Map(brushes.peek())
    if (brush) next.set(axis, brush)
    else next.delete(axis)
    brushes.value = next
    // A browser takes only so many new addresses in a while.
    if (!moving) setParameters({ brush: brushesToText(next) })
  }
  const clear = () => {
    brushes.value = new Map()
    setParameters({ brush: '' })
  }
  const ranked = useMemo(() => rankedBy(rows, admitted, mode), [rows, admitted, mode])
  const values = useMemo(() => new Map(rows.map((row) => [row.trial.trial, row.value])), [rows])
  const onMark = (/** @type {number} */ trial) => {
    if (marked.peek() !== trial) marked.value = trial
  }
  const given = { rows, admitted, rungs, sought, metric, mode, marked: marked.value, onMark, onOpen: open }
  return html`
    <${Parallel}
      ...${{ rows, scales, shades, admitted, best, onBrush }}
      brushes=${brushes.value}
      marked=${rows.findIndex((row) => row.trial.trial === marked.value)}
      onMark=${(/** @type {number} */ i) => onMark(rows[i]?.trial.trial ?? 0)}
      onOpen=${(/** @type {number} */ i) => open(rows[i].trial.trial)}
    />
    <div class="brushed">
      <span role="status">
        ${brushes.value.size > 0 && `${count(ranked.length)} of `}${count(rows.length)} trials
      </span>
      <${BrushChips} scales=${scales} brushes=${brushes.value} onBrush=${onBrush} />
      ${
        brushes.value.size > 0
          ? html`<button type="button" class="link small" onClick=${clear}>Show all</button>`
          : html`<span class="faint">Drag along an axis to choose some. Orange is better, blue worse</span>`
      }
    </div>
    <div class="answer-columns">
      <${Ranking}
        order=${ranked}
        names=${names}
        metric=${metric}
        valueOf=${(/** @type {Api.Trial} */ trial) => values.get(trial.trial)}
        colours=${coloursBy(trials, name)}
        selected=${state.trialNumber.value}
        onMark=${onMark}
        onOpen=${open}
      />
      <${Curves} state=${state} order=${ranked} metric=${metric} name=${name} names=${names} choose=${choose} />
    </div>
    ${
      sought.length > 1 &&
      html`<${Matrix}
        ...${{ rows, scales, shades, admitted, onBrush }}
        brushes=${brushes.value}
        objectives=${sought.length}
        marked=${rows.findIndex((row) => row.trial.trial === marked.value)}
        onMark=${(/** @type {number} */ i) => onMark(rows[i]?.trial.trial ?? 0)}
        onOpen=${(/** @type {number} */ i) => open(rows[i].trial.trial)}
      />`
    }
    <${Findings} ...${given} importances=${importances} state=${state} />
  `
}

/**
 * @param {{ trial: Api.Trial, value: number | undefined }[]} rows
 * @param {string} mode
 */
function bestOf(rows, mode) {
  let found = -1
  rows.forEach(({ trial, value }, i) => {
    if (!Number.isFinite(value) || trial.suggestion?.outcome === 'PRUNED' || trial.suggestion?.infeasible) return
    const known = Number(rows[found]?.value)
    if (found === -1 || (mode === 'MAX' ? Number(value) > known : Number(value) < known)) found = i
  })
  return found
}

/**
 * Admitted trials, best first; then those that break a constraint. What was pruned never came to a value that can be
 * compared: it follows those that did.
 *
 * @param {{ trial: Api.Trial, value: number | undefined }[]} rows
 * @param {boolean[]} admitted
 * @param {string} mode
 */
function rankedBy(rows, admitted, mode) {
  /** @param {{ trial: Api.Trial, value: number | undefined }} row */
  const group = ({ trial, value }) =>
    !Number.isFinite(value) ? 2 : trial.suggestion?.outcome === 'PRUNED' ? 1.5 : trial.suggestion?.infeasible ? 1 : 0
  return rows
    .filter((_, i) => admitted[i])
    .sort(
      (a, b) =>
        group(a) - group(b) ||
        (group(a) === 2 ? 0 : (Number(a.value) - Number(b.value)) * (mode === 'MAX' ? -1 : 1)) ||
        a.trial.trial - b.trial.trial,
    )
    .map(({ trial }) => trial)
}
