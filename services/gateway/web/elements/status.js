// @ts-check
// A status is a colour, an icon and a word, never a colour alone.
import { html } from '../html.js'
import { words } from '../functions/format.js'
import { Icon } from './icon.js'

/** @import { ComponentChildren } from '../vendor/preact.js' */

/** @type {Record<string, string>} */
const runtimeIcons = { Started: 'running', Completed: 'completed', Failed: 'failed', Aborted: 'aborted' }
/** @type {Record<string, string>} */
const trialIcons = { Running: 'running', Completed: 'completed', Failed: 'failed', Waiting: 'waiting' }
const waitingPhases = ['QUEUED', 'ALLOCATING']

/** @param {{ runtime: Api.Runtime, small?: boolean }} properties */
export function RuntimeStatus({ runtime, small }) {
  const queued = runtime.status === 'Started' && waitingPhases.includes(runtime.phase ?? '')
  return html`<span class="status ${small ? 'small' : ''}" data-status=${runtime.status} data-queued=${queued}>
    <${Icon} name=${queued ? 'queued' : runtimeIcons[runtime.status ?? '']} size=${small ? 13 : 15} />
    <span class="word">${runtime.status}</span>
  </span>`
}

/** @param {{ trial: Api.Trial, small?: boolean }} properties */
export function TrialStatus({ trial, small }) {
  const reason = trial.status === 'Waiting' && trial.waiting_reason ? ` (${words(trial.waiting_reason)})` : ''
  return html`<span class="status ${small ? 'small' : ''}" data-status=${trial.status}>
    <${Icon} name=${trialIcons[trial.status ?? '']} size=${small ? 13 : 15} />
    <span class="word">${trial.status}${reason}</span>
  </span>`
}

/**
 * Any word with the look of a state: health, level, snapshot state.
 *
 * @param {{ tone?: string, children: ComponentChildren }} properties
 */
export function Tag({ tone = 'neutral', children }) {
  return html`<span class="tag" data-tone=${tone}>${children}</span>`
}
