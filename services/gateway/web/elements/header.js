// @ts-check
// Name, status, why it is so, since when, by whom; what one can do about it.
import { html } from '../html.js'
import { clock, count, title, words } from '../functions/format.js'
import { setParameters } from '../state/location.js'
import { mayChange } from '../state/session.js'
import { Copy } from './button.js'
import { Icon } from './icon.js'
import { At } from './live_time.js'
import { lazy } from './lazy.js'
import { RuntimeStatus, Tag, TrialStatus } from './status.js'

/**
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { Open } from './commands.js'
 */

const Share = lazy(() => import('./share.js').then((module) => module.Share))

/** @param {{ state: RuntimeState, open?: Open }} properties */
export function Header({ state, open }) {
  const runtime = state.runtime.value
  const trial = state.trial.value
  if (!runtime) return null
  return html`<section class="header" aria-label="Runtime">
    <div class="header-main">
      <div class="header-title">
        <h1>${runtime.display_name || runtime.runtime_id}</h1>
        <${RuntimeStatus} runtime=${runtime} />
        ${
          runtime.phase &&
          runtime.phase !== 'ENDED' &&
          html`<span class="phase">
            ${title(runtime.phase)}
            ${runtime.phase === 'RUNNING' && trial?.progress?.phase ? ` · ${words(trial.progress.phase)}` : ''}
          </span>`
        }
        ${
          runtime.health &&
          runtime.health !== 'HEALTHY' &&
          runtime.status === 'Started' &&
          html`<${Tag} tone="warning">${title(runtime.health)}<//>`
        }
        ${runtime.configuration?.launcher === 'external' && html`<${Tag}>External<//>`}
        ${runtime.imported && html`<${Tag} tone="warning">Imported<//>`}
      </div>
      <p class="because">
        ${runtime.failure_reason && html`<strong>${title(runtime.failure_reason)}: </strong>`}
        <span class="reason">${runtime.reason}</span>
        ${
          runtime.change_time &&
          html`<span class="faint"> · since <${At} time=${runtime.change_time} />
            ${runtime.changed_by ? ` by ${runtime.changed_by}` : ''}
          </span>`
        }
        ${runtime.health_reason && html`<span class="health-reason"> · ${runtime.health_reason}</span>`}
      </p>
      <${Hints} state=${state} />
    </div>
    <div class="header-side">
      <div class="header-buttons">
        ${
          open &&
          mayChange() &&
          !runtime.imported &&
          html`<div class="commands"><${Commands} runtime=${runtime} trial=${trial} open=${open} /></div>`
        }
        <${Share} state=${state} />
        ${
          !state.past &&
          html`<a class="button" aria-label="Audit" href=${`/runtimes/${runtime.runtime_id}/audit`}>
            <${Icon} name="history" /><span>Audit</span>
          </a>`
        }
        ${
          open &&
          mayChange() &&
          !runtime.imported &&
          html`<button
            type="button"
            class="button only-icon"
            onClick=${() => open('delete')}
            title="Delete"
            aria-label="Delete"
          >
            <${Icon} name="trash" />
          </button>`
        }
      </div>
      <span class="id">${runtime.runtime_id}<${Copy} text=${runtime.runtime_id} title="Copy the id" /></span>
    </div>
    ${state.trials.value.length > 1 && html`<${TrialSelector} state=${state} />`}
  </section>`
}

/** @param {{ runtime: Api.Runtime, trial?: Api.Trial, open: Open }} properties */
function Commands({ runtime, trial, open }) {
  const started = runtime.status === 'Started'
  const external = runtime.configuration?.launcher === 'external'
  const stopping = started && ['STOPPING', 'TERMINATING'].includes(runtime.phase ?? '')
  const ended = ['Aborted', 'Failed'].includes(runtime.status ?? '')
  return html`
    ${
      started &&
      html`<button type="button" class="button danger" disabled=${stopping} onClick=${() => open('stop')}>
        <${Icon} name="stop" /><span>${stopping ? 'Stopping…' : 'Stop'}</span>
      </button>`
    }
    ${
      stopping &&
      runtime.stop_mode === 'GRACEFUL' &&
      html`<button type="button" class="button" onClick=${() => open('stop')} title="Stop at once instead">
        Stop at once
      </button>`
    }
    ${
      ended &&
      !external &&
      html`<button type="button" class="button primary" onClick=${() => open('resume')}>
        <${Icon} name="play" /><span>Resume</span>
      </button>`
    }
    ${
      runtime.status === 'Completed' &&
      !external &&
      html`<button type="button" class="button" onClick=${() => open('resume')} title="With a larger total">
        <${Icon} name="play" /><span>Continue</span>
      </button>`
    }
    ${
      (trial?.steerables ?? []).length > 0 &&
      !['Completed', 'Failed'].includes(trial?.status ?? '') &&
      html`<button
        type="button"
        class="button"
        onClick=${() => open('steer', { trial: trial?.trial, steerables: trial?.steerables })}
        title="Change values while it trains"
      >
        Steer
      </button>`
    }
    <button type="button" class="button" onClick=${() => open('clone')}>
      <${Icon} name="copy" /><span>Clone</span>
    </button>
  `
}

/**
 * What one should know, none of it a state.
 *
 * @param {{ state: RuntimeState }} properties
 */
function Hints({ state }) {
  const runtime = state.runtime.value
  const trial = state.trial.value
  const hints = [...(trial?.hints ?? [])]
  if (!runtime) return null
  // The reason may say it already.
  if (runtime.phase === 'QUEUED' && runtime.pending_reason && !/in the queue/.test(runtime.reason)) {
    const place = runtime.queue_position ? `, number ${runtime.queue_position} in the queue` : ''
    hints.unshift(`${words(runtime.pending_reason)}${place}`)
  }
  for (const [topic, text] of Object.entries(state.stream?.problems.value ?? {}))
    hints.push(`no live ${topic}: ${text}`)
  if (runtime.imported) {
    const { import_time: when, imported_by: who } = runtime.imported
    const imported = `imported ${clock(when)} by ${who}`
    hints.unshift(`ran in another installation, ${imported}: it can be read, and not changed`)
  }
  if (runtime.cloned_from) hints.push(`clone of ${runtime.cloned_from}`)
  if (hints.length === 0 && !runtime.branch) return null
  return html`<ul class="hints">
    ${runtime.branch && html`<${BranchedFrom} branch=${runtime.branch} />`}
    ${hints.map(
      (hint) => html`<li
        key=${hint}
        data-tone=${/NaN|Inf|no contact|no progress|no live|corrupt/i.test(hint) ? 'warning' : 'neutral'}
      >
        ${hint}
      </li>`,
    )}
  </ul>`
}

/** @param {{ branch: Api.Branch }} properties */
function BranchedFrom({ branch }) {
  const at = branch.origin
  const changes = (branch.changes ?? []).map(
    ({ field = '', after }) => `${field.replace(/^parameters\./, '')} ${after || 'none'}`,
  )
  return html`<li data-tone="neutral" data-testid="branched-from">
    ${branch.weights_only ? 'with the weights of' : 'branched from'}${' '}
    <a href=${`/runtimes/${at?.runtime_id}`}>${at?.runtime_id}</a>${' '}
    ${`trial ${at?.trial} at step ${count(at?.step)}${changes.length ? `, with ${changes.join(', ')}` : ''}`}
  </li>`
}

/** @param {{ state: RuntimeState }} properties */
function TrialSelector({ state }) {
  const trials = state.trials.value
  const selected = state.trial.value
  if (trials.length > 12) {
    return html`<label class="trial-select field inline">
      <span>Trial</span>
      <select value=${selected?.trial} onChange=${(event) => choose(state, Number(event.target.value))}>
        ${trials.map(
          (trial) => html`<option value=${trial.trial}>
            ${[trial.trial, trial.status, parameters(trial)].filter(Boolean).join(' · ')}
          </option>`,
        )}
      </select>
    </label>`
  }
  return html`<div class="trial-tabs" role="group" aria-label="Trial">
    ${trials.map(
      (trial) => html`<button
        type="button"
        key=${trial.trial}
        aria-pressed=${trial.trial === selected?.trial}
        onClick=${() => choose(state, trial.trial)}
        title=${parameters(trial)}
      >
        <span>Trial ${trial.trial}</span><${TrialStatus} trial=${trial} small />
      </button>`,
    )}
  </div>`
}

/** @param {Api.Trial} trial */
function parameters(trial) {
  return Object.entries(trial.searched_parameters ?? {})
    .map(([key, value]) => `${key} = ${value}`)
    .join(', ')
}

/**
 * @param {RuntimeState} state
 * @param {number} trial
 */
function choose(state, trial) {
  setParameters({ trial })
  state.openTrial()
}
