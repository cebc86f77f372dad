// @ts-check
// What a search has found, before anything about one trial: the best one, all by value, their curves by what was
// searched. Of more than a few trials also all of them over their parameters.
import { html, useMemo, useSignal } from '../html.js'
import { count, plural, value as number } from '../functions/format.js'
import { objectives, ranked, valueOf } from '../functions/search.js'
import { coloursBy, searchedNames, shortly } from '../functions/searched.js'
import { titleOf } from '../functions/plot.js'
import { setParameters } from '../state/location.js'
import { useSlowly } from '../state/slowly.js'
import { lazy, stylesheet } from './lazy.js'
import { Curves } from './search/curves.js'
import { Ranking } from './search/ranking.js'

/** @import { RuntimeState } from '../state/runtime.js' */
/** @typedef {ReturnType<typeof coloursBy>} Colours */

// Fewer trials are told by their table.
const wholeFrom = 5
const namedAtMost = 5
// Of many trials some change all the time.
const manyFrom = 50
const pauses = { few: 250, many: 1_000 }

const WholeSearch = lazy(() =>
  Promise.all([import('./search/whole.js'), stylesheet('/static/css/whole_search.css')]).then(
    ([module]) => module.WholeSearch,
  ),
)

/** @param {{ state: RuntimeState }} properties */
export function SearchAnswer({ state }) {
  const pause = state.trials.peek().length >= manyFrom ? pauses.many : pauses.few
  const trials = useSlowly(state.trials, pause).value
  const sought = objectives(state.runtime.value, trials)
  const [{ metric, mode }] = sought
  const front = sought.length > 1 ? trials.filter((trial) => trial.suggestion?.best) : []
  const order = useMemo(() => ranked(trials, mode), [trials, mode])
  const names = useMemo(() => searchedNames(trials), [trials])
  const chosenName = useSignal('')
  const name = names.includes(chosenName.value) ? chosenName.value : names[0]
  const choose = (/** @type {string} */ one) => (chosenName.value = one)
  const best = order[0] && valueOf(order[0]) !== undefined ? order[0] : undefined
  const onOpen = (/** @type {number} */ trial) => open(state, trial)
  return html`<section class="search-answer card padded" aria-label="What the search found">
    <p class="answer">
      ${
        front.length > 0
          ? html`<${Front} trials=${front} metrics=${sought.map((one) => one.metric)} onOpen=${onOpen} />`
          : best
            ? html`<${Best} trial=${best} metric=${metric} runtime=${state.runtime.value} state=${state} />`
            : html`<span class="faint">No trial has a value yet.</span>`
      }
    </p>
    ${
      trials.length >= wholeFrom
        ? html`<${WholeSearch} ...${{ state, trials, sought, name, names, choose, open: onOpen }} />`
        : html`<div class="answer-columns">
            <${Ranking}
              ...${{ order, names, metric, valueOf, onOpen }}
              colours=${coloursBy(trials, name)}
              selected=${state.trialNumber.value}
            />
            <${Curves} ...${{ state, order, metric, name, names, choose }} />
          </div>`
    }
  </section>`
}

/** @param {{ trial: Api.Trial, metric: string, runtime: Api.Runtime, state: RuntimeState }} properties */
function Best({ trial, metric, runtime, state }) {
  const parameters = Object.entries(trial.searched_parameters ?? {})
  return html`
    <span class="answer-label">${runtime.status === 'Started' ? 'Best so far' : 'Best'}</span>
    <b>${titleOf(metric)} ${number(valueOf(trial))}</b>
    ${trial.best?.step ? html`<span class="faint"> at step ${count(trial.best.step)}</span>` : ''}
    ${parameters.map(([name, text]) => html`<code key=${name} title=${text}>${name} = ${shortly(text)}</code>`)}
    <button type="button" class="button small" onClick=${() => open(state, trial.trial)}>Trial ${trial.trial}</button>
  `
}

/**
 * Of several objectives there is no best one.
 *
 * @param {{ trials: Api.Trial[], metrics: string[], onOpen: (trial: number) => void }} properties
 */
function Front({ trials, metrics, onOpen }) {
  return html`
    <b>${plural(trials.length, 'trial')}</b>
    <span> that no other surpasses in ${metrics.map(titleOf).join(' and ')}</span>
    ${trials.slice(0, namedAtMost).map(
      ({ trial }) =>
        html`<button type="button" class="button small" key=${trial} onClick=${() => onOpen(trial)}>
          Trial ${trial}
        </button>`,
    )}
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
