// @ts-check
// The curves of the best trials of a search, coloured by what was searched.
import { html, useComputed, useEffect, useMemo, useSignal } from '../../html.js'
import { count } from '../../functions/format.js'
import { coloursBy, shortly } from '../../functions/searched.js'
import { time } from '../../functions/wire.js'
import { Cursor } from '../../state/cursor.js'
import { SeriesStore } from '../../state/series_store.js'
import { Chart } from '../chart.js'

/**
 * @import { View } from '../../functions/plot.js'
 * @import { RuntimeState } from '../../state/runtime.js'
 * @import { ChartContext } from '../chart.js'
 */

// More curves than these are no picture any more: the best ones are drawn.
const curvesAtMost = 20
const refreshPause = 5_000

/**
 * @param {{
 *   state: RuntimeState,
 *   order: Api.Trial[],
 *   metric: string,
 *   name: string,
 *   names: string[],
 *   choose: (name: string) => void,
 * }} properties
 */
export function Curves({ state, order, metric, name, names, choose }) {
  const store = useMemo(() => new SeriesStore({ asOf: state.past }), [state])
  const cursor = useMemo(() => new Cursor(), [state])
  const zoom = useMemo(
    () => ({
      to: (/** @type {View | null} */ view) => store.zoom(view),
      back: () => store.zoom(null),
      reset: () => store.zoom(null),
    }),
    [store],
  )
  const shown = order.slice(0, curvesAtMost).filter((trial) => (trial.progress?.step ?? 0) > 0)
  const parents = shown.map((trial) => trial.name).sort()
  useEffect(() => () => store.dispose(), [store])
  useEffect(() => {
    store.setParents(parents)
  }, [parents.join()])
  useEffect(() => {
    const timer = setInterval(
      () =>
        !document.hidden &&
        !state.past &&
        state.trials.peek().some((trial) => trial.status === 'Running') &&
        store.reload(),
      refreshPause,
    )
    return () => clearInterval(timer)
  }, [store])
  const by = useSignal(name)
  by.value = name
  const context = useComputed(() => {
    const all = state.trials.value
    const { colours } = coloursBy(all, by.value)
    /** @type {ChartContext} */
    const drawn = { contexts: new Map(), lines: () => [] }
    for (const trial of all)
      drawn.contexts.set(trial.name, {
        origin: time(trial.start_time) ?? 0,
        perEpoch: trial.progress?.steps_per_epoch ?? 0,
        colour: colours.get(trial.name),
        name: labelOf(trial),
      })
    return drawn
  })
  const { legend } = coloursBy(order, name)
  return html`<div class="answer-curves">
    <p class="answer-legend">
      ${
        names.length > 1
          ? html`<label class="field inline">
            <span>Coloured by</span>
            <select value=${name} onChange=${(event) => choose(event.target.value)}>
              ${names.map((one) => html`<option value=${one}>${one}</option>`)}
            </select>
          </label>`
          : html`<span class="faint">${name}</span>`
      }
      ${legend.map(
        ({ text, colour }) =>
          html`<span key=${text}><span class="swatch" style=${{ '--colour': colour }}></span> ${text}</span>`,
      )}
    </p>
    <${Chart} key=${metric} store=${store} cursor=${cursor} context=${context} name=${metric} zoom=${zoom} tall />
    ${
      order.length > curvesAtMost &&
      html`<p class="faint">The ${curvesAtMost} best of ${count(order.length)} trials.</p>`
    }
  </div>`
}

/** @param {Api.Trial} trial */
function labelOf(trial) {
  const parameters = Object.entries(trial.searched_parameters ?? {}).map(([key, text]) => `${key} ${shortly(text)}`)
  return `Trial ${trial.trial}${parameters.length > 0 ? `: ${parameters.join(', ')}` : ''}`
}
