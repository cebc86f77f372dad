// @ts-check
// Where the ranks of an attempt are: what each was doing when it stood still, or when somebody asked.
import { html } from '../html.js'
import { post, requestId } from '../api.js'
import { count, duration } from '../functions/format.js'
import { collectiveOf, placeOf, whereabouts } from '../functions/stacks.js'
import { Action } from './button.js'
import { At } from './live_time.js'

/**
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { Said } from '../functions/stacks.js'
 */

/**
 * Asks every rank what its threads are doing. Training goes on.
 *
 * @param {{ name: string }} properties
 */
export function AskForStacks({ name }) {
  return html`<${Action}
    act=${() => post(`/${name}:recordStacks`, { request_id: requestId() })}
    label="Where are they?"
    working="Asking…"
    tone="small"
    title="Each instance records what all of its threads are doing, and goes on training"
  />`
}

/** @param {{ state: RuntimeState, trial: number, attempt: number }} properties */
export function Stacks({ state, trial, attempt }) {
  const { said, verdict } = whereabouts(state.events.value, trial, attempt)
  if (said.length === 0 && !verdict) return ''
  return html`<div class="stacks">
    ${verdict && html`<p><strong>No progress after step ${count(verdict.step)}:</strong> ${verdict.message}</p>`}
    ${said.map((one) => html`<${Rank} key=${one.stacks.rank} said=${one} />`)}
  </div>`
}

/** @param {{ said: Said }} properties */
function Rank({ said: { stacks, time } }) {
  const idle = Number(stacks.idle_seconds)
  const why = stacks.requested ? 'asked' : `no step for ${duration(idle)}`
  return html`<details>
    <summary>
      Rank ${stacks.rank}: ${placeOf(stacks)}
      <span class="faint">, step ${count(stacks.step)}, ${why}, <${At} time=${time} /></span>
    </summary>
    ${(stacks.groups ?? []).map((group) => html`<p class="faint" key=${group.group}>${collectiveOf(group)}</p>`)}
    <pre tabindex="0" aria-label=${`Threads of rank ${stacks.rank}`}>${stacks.text}</pre>
  </details>`
}
