// @ts-check
// The worker processes of the chosen trial, attempt by attempt.
import { html, useEffect, useSignal } from '../html.js'
import { get } from '../api.js'
import { count, title, words } from '../functions/format.js'
import { Problem } from './dialog.js'
import { Empty } from './empty.js'
import { At } from './live_time.js'
import { AskForStacks, Stacks } from './stacks.js'
import { Tag } from './status.js'

/**
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { Signal } from '../vendor/signals.js'
 * @import { Open } from './commands.js'
 */

/** @type {Record<string, string>} */
const tones = { HEALTHY: 'good', DEGRADED: 'warning', UNHEALTHY: 'bad' }

/** @param {{ state: RuntimeState, open?: Open }} properties */
export function Instances({ state, open }) {
  const trial = state.trial.value
  /** @type {Signal<Api.Attempt[] | null>} */
  const attempts = useSignal(null)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  useEffect(() => {
    if (!trial) return
    get(`/${trial.name}/attempts`, state.past).then(
      (answer) => (attempts.value = answer.attempts ?? []),
      (failure) => (error.value = failure),
    )
  }, [trial?.name, trial?.attempt, trial?.status])
  if (!trial) return html`<${Empty} title="There is no trial yet" />`
  const live = trial.instances ?? []
  const ended = ['Completed', 'Failed'].includes(trial.status ?? '')
  const list = (attempts.value ?? []).toReversed()
  return html`<div class="instances">
    <${Problem} error=${error.value} />
    ${
      open &&
      trial.status === 'Running' &&
      live.length > 0 &&
      html`<div class="events-bar"><${AskForStacks} name=${trial.name} /></div>`
    }
    ${
      live.length === 0 &&
      list.length === 0 &&
      html`<${Empty} title=${ended ? 'No instance started' : 'No instance has started yet'} />`
    }
    ${live.length > 0 && list.length === 0 && html`<${InstanceTable} instances=${live} ended=${ended} />`}
    ${list.map((attempt) => {
      const current = attempt.attempt === trial.attempt
      return html`<section key=${attempt.attempt} class="attempt">
        <h3>
          Attempt ${attempt.attempt} <span class="faint">${attemptText(attempt)}</span> ${
            attempt.fenced ? html`<${Tag} tone="warning">Fenced<//>` : ''
          }
        </h3>
        <${InstanceTable}
          instances=${current && live.length > 0 ? live : (attempt.instances ?? [])}
          ended=${ended || !current}
        />
        <${Stacks} state=${state} trial=${trial.trial} attempt=${attempt.attempt} />
        ${attempt.detail && html`<pre tabindex="0">${attempt.detail}</pre>`}
      </section>`
    })}
  </div>`
}

/** @param {Api.Attempt} attempt */
function attemptText(attempt) {
  /** @type {string[]} */
  const parts = []
  if (attempt.restored_step) parts.push(`from step ${count(attempt.restored_step)}`)
  if (attempt.last_step) parts.push(`to step ${count(attempt.last_step)}`)
  if (attempt.world_size) parts.push(`${attempt.world_size} ${attempt.world_size === 1 ? 'process' : 'processes'}`)
  if (attempt.cause) parts.push(words(attempt.cause))
  return parts.join(' · ')
}

/** @param {{ instances: Api.InstanceState[], ended: boolean }} properties */
function InstanceTable({ instances, ended }) {
  if (instances.length === 0) return html`<p class="faint">No instance.</p>`
  return html`<div class="table-frame" tabindex="0" role="region" aria-label="Instances">
    <table class="plain wide">
      <thead>
        <tr>
          <th scope="col">Rank</th>
          <th scope="col">Health</th>
          <th scope="col">Ready</th>
          <th scope="col">Host</th>
          <th scope="col">Process</th>
          <th scope="col">Devices</th>
          <th scope="col">Started</th>
          <th scope="col">Exit</th>
          <th scope="col">Software</th>
        </tr>
      </thead>
      <tbody>
        ${instances.map(
          (one) => html`<tr key=${`${one.attempt}-${one.rank}`}>
            <td class="number">${one.rank ?? 0}</td>
            <td>
              ${
                one.exit_cause
                  ? html`<${Tag} tone=${['FINISHED', 'STOPPED'].includes(one.exit_cause ?? '') ? 'neutral' : 'bad'}>
                    ${title(one.exit_cause)}
                  <//>`
                  : one.health
                    ? html`<${Tag} tone=${tones[one.health]}>${title(one.health)}<//>`
                    : ''
              }
            </td>
            <td>
              ${one.exit_cause ? `exited, ${words(one.exit_cause)}` : one.ready ? 'yes' : ended ? 'no' : 'not yet'}
            </td>
            <td>${one.host}</td>
            <td class="number">${one.process_id || ''}</td>
            <td>${(one.devices ?? []).join(', ')}</td>
            <td><${At} time=${one.start_time} /></td>
            <td>
              ${one.exit_time ? html`<${At} time=${one.exit_time} />` : ''}
              ${one.detail ? html` <span class="faint">${one.detail}</span>` : ''}
            </td>
            <td class="faint">${one.software}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`
}
