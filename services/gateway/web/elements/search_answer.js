// @ts-check
// What a search has found, before anything about one trial: the best one, all by value, their curves by what was
// searched.
import { html, useComputed, useEffect, useMemo, useSignal } from '../html.js'
import { count, duration, percent, value as number } from '../functions/format.js'
import { scalar } from '../functions/configuration.js'
import { objective, ranked, valueOf } from '../functions/search.js'
import { coloursBy, searchedNames } from '../functions/searched.js'
import { time } from '../functions/wire.js'
import { titleOf } from '../functions/plot.js'
import { Cursor } from '../state/cursor.js'
import { setParameters } from '../state/location.js'
import { SeriesStore } from '../state/series_store.js'
import { Chart } from './chart.js'
import { TrialStatus } from './status.js'

/**
 * @import { View } from '../functions/plot.js'
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { ChartContext } from './chart.js'
 */
/** @typedef {ReturnType<typeof coloursBy>} Colours */

// More curves than these are no picture any more: the best ones are drawn.
const curvesAtMost = 20
const refreshPause = 5_000

/** @param {{ state: RuntimeState }} properties */
export function SearchAnswer({ state }) {
  const trials = state.trials.value
  const { metric, mode } = objective(state.runtime.value, trials)
  const order = ranked(trials, mode)
  const names = searchedNames(trials)
  const chosenName = useSignal('')
  const name = names.includes(chosenName.value) ? chosenName.value : names[0]
  const best = order[0] && valueOf(order[0]) !== undefined ? order[0] : undefined
  return html`<section class="search-answer card padded" aria-label="What the search found">
    <p class="answer">
      ${
        best
          ? html`<${Best} trial=${best} metric=${metric} runtime=${state.runtime.value} state=${state} />`
          : html`<span class="faint">No trial has a value yet.</span>`
      }
    </p>
    <div class="answer-columns">
      <${Ranking} state=${state} order=${order} names=${names} metric=${metric} colours=${coloursBy(trials, name)} />
      <${Curves}
        state=${state}
        order=${order}
        metric=${metric}
        name=${name}
        names=${names}
        choose=${(one) => (chosenName.value = one)}
      />
    </div>
  </section>`
}

/** @param {{ trial: Api.Trial, metric: string, runtime: Api.Runtime, state: RuntimeState }} properties */
function Best({ trial, metric, runtime, state }) {
  const parameters = Object.entries(trial.searched_parameters ?? {})
  return html`
    <span class="answer-label">${runtime.status === 'Started' ? 'Best so far' : 'Best'}</span>
    <b>${titleOf(metric)} ${number(valueOf(trial))}</b>
    ${trial.best?.step ? html`<span class="faint"> at step ${count(trial.best.step)}</span>` : ''}
    ${parameters.map(([name, text]) => html`<code key=${name}>${name} = ${String(scalar(text))}</code>`)}
    <button type="button" class="button small" onClick=${() => open(state, trial.trial)}>Trial ${trial.trial}</button>
  `
}

/**
 * @param {RuntimeState} state
 * @param {number} trial
 */
function open(state, trial) {
  setParameters({ trial })
  state.openTrial()
}

/**
 * Best first: one sees at once what the searched values do.
 *
 * @param {{
 *   state: RuntimeState,
 *   order: Api.Trial[],
 *   names: string[],
 *   metric: string,
 *   colours: Colours,
 * }} properties
 */
function Ranking({ state, order, names, metric, colours }) {
  const selected = state.trialNumber.value
  const chosen = order.some((trial) => trial.suggestion)
  return html`<div class="table-frame ranking" tabindex="0" role="region" aria-label="Trials, best first">
    <table class="plain">
      <thead>
        <tr>
          <th scope="col">Trial</th>
          ${names.map((name) => html`<th scope="col" key=${name}>${name}</th>`)}
          <th scope="col" title=${metric}>${titleOf(metric)}</th>
          <th scope="col">Status</th>
          <th scope="col">Done</th>
          <th scope="col">Elapsed</th>
          ${chosen && html`<th scope="col">Chosen by</th>`}
        </tr>
      </thead>
      <tbody>
        ${order.map(
          (trial) => html`<tr key=${trial.name} aria-selected=${trial.trial === selected}>
            <td>
              <button type="button" class="link" onClick=${() => open(state, trial.trial)}>
                <span class="swatch" style=${{ '--colour': colours.colours.get(trial.name) }}></span> ${trial.trial}
              </button>
            </td>
            ${names.map(
              (name) => html`<td key=${name} class="number">
                ${name in (trial.searched_parameters ?? {}) ? String(scalar(trial.searched_parameters[name])) : ''}
              </td>`,
            )}
            <td class="number">${number(valueOf(trial))}</td><td><${TrialStatus} trial=${trial} small /></td>
            <td class="number">${percent(trial.progress?.completion_percent)}</td>
            <td class="number">${duration(trial.elapsed)}</td>
            ${chosen && html`<td title=${trial.suggestion?.because}>${trial.suggestion?.sampler}</td>`}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`
}

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
function Curves({ state, order, metric, name, names, choose }) {
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
  const parameters = Object.entries(trial.searched_parameters ?? {}).map(
    ([key, text]) => `${key} ${String(scalar(text))}`,
  )
  return `Trial ${trial.trial}${parameters.length > 0 ? `: ${parameters.join(', ')}` : ''}`
}
