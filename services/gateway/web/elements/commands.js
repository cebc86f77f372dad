// @ts-check
// Dialogs that change something: each says what it will do.
import { html, useEffect, useSignal } from '../html.js'
import { get, post, remove, requestId } from '../api.js'
import { bytes, count, duration, plural } from '../functions/format.js'
import { navigate } from '../state/location.js'
import { Dialog, Problem } from './dialog.js'
import { lazy } from './lazy.js'
import { Ago } from './live_time.js'

const SteerDialog = lazy(() => import('./steer.js').then((module) => module.SteerDialog))

/** @import { Signal } from '../vendor/signals.js' */
/** @typedef {ReturnType<typeof useCommand>} Command */
/** @typedef {(runtime: Api.Runtime | null) => void} OnDone */
/** @typedef {'stop' | 'resume' | 'clone' | 'branch' | 'steer' | 'delete'} Kind */
/** @typedef {{ trial?: number, snapshot?: string, step?: number, steerables?: Api.Steerable[] }} More */
/** @typedef {(kind: Kind, more?: More) => void} Open */

const allTrialsGoOn =
  'All waiting and failed trials go on, each from its newest valid snapshot; ' +
  'one that has none begins again at step 1.'

/**
 * Runs a command once at a time and keeps the server's answer to it.
 *
 * @param {(answer: any) => void} onDone
 */
export function useCommand(onDone) {
  const busy = useSignal(false)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  // The same id for every try of one dialog: a second click, or a repeat after a lost answer, decides nothing new.
  const id = useSignal(requestId())
  /** @param {(id: string) => Promise<unknown>} command */
  const run = async (command) => {
    busy.value = true
    error.value = null
    try {
      onDone(await command(id.peek()))
    } catch (failure) {
      error.value = failure
      id.value = requestId()
    } finally {
      busy.value = false
    }
  }
  return { busy, error, run }
}

/**
 * @param {{
 *   onClose: () => void,
 *   command: Command,
 *   label: string,
 *   working: string,
 *   tone?: string,
 *   disabled?: boolean,
 * }} properties
 */
export function Footer({ onClose, command, label, working, tone = 'primary', disabled }) {
  return html`
    <${Problem} error=${command.error.value} />
    <footer>
      <button type="button" class="button" onClick=${onClose}>Cancel</button>
      <button
        type="submit"
        class="button ${tone}"
        disabled=${disabled || command.busy.value}
        aria-busy=${command.busy.value}
      >
        ${command.busy.value ? working : label}
      </button>
    </footer>
  `
}

/**
 * Stop a runtime, or with `trial` one of its trials.
 *
 * @param {{ runtime: Api.Runtime, trial?: number, onClose: () => void, onDone?: OnDone }} properties
 */
export function StopDialog({ runtime, trial, onClose, onDone = () => {} }) {
  const mode = useSignal('GRACEFUL')
  const reason = useSignal('')
  /** @type {Signal<Api.PreviewStopResponse | null>} */
  const preview = useSignal(null)
  /** @type {Signal<Error | null>} */
  const previewError = useSignal(null)
  const command = useCommand((answer) => {
    onDone(answer.runtime)
    onClose()
  })
  const path = `/runtimes/${runtime.runtime_id}`
  useEffect(() => {
    let shown = true
    const ask = () =>
      post(`${path}:previewStop`, trial ? { trial } : {}).then(
        (answer) => shown && (preview.value = answer),
        (error) => shown && (previewError.value = error),
      )
    ask()
    const timer = setInterval(ask, 2_000)
    return () => {
      shown = false
      clearInterval(timer)
    }
  }, [])
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault()
    command.run((id) =>
      post(trial ? `${path}/trials/${trial}:stop` : `${path}:stop`, {
        mode: mode.value,
        reason: reason.value,
        request_id: id,
      }),
    )
  }
  const external = runtime.configuration?.launcher === 'external'
  const losses = preview.value?.losses ?? []
  const saves = losses.every((loss) => loss.graceful_saves)
  const deadline = runtime.configuration?.limits?.stop_deadline_seconds
  return html`<${Dialog}
    title=${trial ? `Stop trial ${trial} of ${runtime.display_name}` : `Stop ${runtime.display_name}`}
    onClose=${onClose}
  >
    <form onSubmit=${submit} class="dialog-form">
      <fieldset class="modes">
        <legend class="off-screen">How</legend>
        <label class="mode" data-chosen=${mode.value === 'GRACEFUL'}>
          <input
            type="radio"
            name="mode"
            value="GRACEFUL"
            checked=${mode.value === 'GRACEFUL'}
            onChange=${() => (mode.value = 'GRACEFUL')}
          />
          <span>
            <strong>Graceful</strong>
            <span>
              ${
                saves
                  ? 'The training code takes a snapshot at the next step, sends everything and leaves.'
                  : 'The training code is asked to leave after its step.'
              }
              ${deadline ? ` Killed after ${duration(deadline)} if it has not.` : ''}
            </span>
            <span class="loss-text ${losses.some(loseGracefully) ? 'bad' : 'good'}" data-testid="graceful-loss">
              ${sentence(preview.value?.graceful_message) || 'Working out what would be lost…'}
            </span>
          </span>
        </label>
        <label class="mode" data-chosen=${mode.value === 'ABRUPT'}>
          <input
            type="radio"
            name="mode"
            value="ABRUPT"
            checked=${mode.value === 'ABRUPT'}
            disabled=${external}
            onChange=${() => (mode.value = 'ABRUPT')}
          />
          <span>
            <strong>Abrupt</strong>
            <span>
              ${
                external
                  ? 'Not possible: Milepost did not start this script.'
                  : 'Killed at once. Everything since the last snapshot is done again on resume.'
              }
            </span>
            <span class="loss-text bad" data-testid="loss">${lossText(preview.value, previewError.value)}</span>
          </span>
        </label>
      </fieldset>
      ${
        losses.length > 1 &&
        mode.value === 'ABRUPT' &&
        html`<ul class="losses">${losses.map((loss) => html`<li>Trial ${loss.trial}: ${oneLoss(loss)}</li>`)}</ul>`
      }
      <label class="field">
        <span>Reason, for the log (optional)</span>
        <input
          type="text"
          maxlength="500"
          value=${reason.value}
          onInput=${(event) => (reason.value = event.target.value)}
        />
      </label>
      <${Footer}
        onClose=${onClose}
        command=${command}
        label=${mode.value === 'GRACEFUL' ? 'Stop gracefully' : 'Stop at once'}
        working="Stopping…"
        tone="danger"
      />
    </form>
  <//>`
}

/** @param {Api.StopLoss} loss */
function loseGracefully(loss) {
  return !loss.graceful_saves && Number(loss.lost_steps ?? 0) > 0
}

/** @param {string | undefined} words */
function sentence(words) {
  return words && words.charAt(0).toUpperCase() + words.slice(1)
}

/**
 * @param {Api.PreviewStopResponse | null} preview
 * @param {Error | null} error
 */
function lossText(preview, error) {
  if (error) return error.message
  if (!preview) return 'Working out what would be lost…'
  const words = preview.abrupt_message || preview.losses?.map(oneLoss).join('; ')
  return words ? `Would be lost: ${words}` : 'Nothing would be lost.'
}

/** @param {Api.StopLoss} loss */
function oneLoss(loss) {
  const since = loss.snapshot_step
    ? `since the snapshot at step ${count(loss.snapshot_step)}`
    : 'since the start: there is no snapshot'
  return `${plural(loss.lost_steps ?? 0, 'step')}, ${duration(loss.lost_time ?? 0)} ${since}`
}

/**
 * Resume a runtime or one trial, from the newest valid snapshot or a chosen one.
 *
 * @param {{
 *   runtime: Api.Runtime,
 *   trial?: number,
 *   snapshot?: string,
 *   onClose: () => void,
 *   onDone?: OnDone,
 * }} properties
 */
export function ResumeDialog({ runtime, trial, snapshot = '', onClose, onDone = () => {} }) {
  /** @type {Signal<Api.Snapshot[] | null>} */
  const snapshots = useSignal(null)
  /** @type {Signal<Error | null>} */
  const listError = useSignal(null)
  const chosen = useSignal(snapshot)
  const changes = useSignal('')
  const command = useCommand((answer) => {
    onDone(answer.runtime)
    onClose()
  })
  const path = `/runtimes/${runtime.runtime_id}`
  const oneTrial = trial || (runtime.trial_count ?? 1) === 1
  useEffect(() => {
    get(`${trial ? `${path}/trials/${trial}` : path}/snapshots`).then(
      (answer) =>
        (snapshots.value = (answer.snapshots ?? []).filter((one) => one.state === 'COMMITTED' && !one.superseded)),
      (error) => (listError.value = error),
    )
  }, [])
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault()
    const body = { snapshot_id: chosen.value, configuration_changes_text: trial ? undefined : changes.value }
    command.run((id) => post(trial ? `${path}/trials/${trial}:resume` : `${path}:resume`, { ...body, request_id: id }))
  }
  const newest = snapshots.value?.[0]
  // What has completed goes on with more to do than it had.
  const word = runtime.status === 'Completed' ? 'Continue' : 'Resume'
  return html`<${Dialog}
    title=${trial ? `Resume trial ${trial} of ${runtime.display_name}` : `${word} ${runtime.display_name}`}
    onClose=${onClose}
  >
    <form onSubmit=${submit} class="dialog-form">
      <p>
        ${
          oneTrial
            ? 'The trial goes on as its next attempt, under the same number and on the same curve.'
            : allTrialsGoOn
        }
      </p>
      <${Problem} error=${listError.value} />
      ${
        oneTrial &&
        snapshots.value &&
        html`
          <label class="field">
            <span>From</span>
            <select value=${chosen.value} onChange=${(event) => (chosen.value = event.target.value)}>
              <option value="">
                ${
                  newest
                    ? `Newest valid snapshot (step ${count(newest.step)})`
                    : 'The beginning: there is no snapshot yet'
                }
              </option>
              ${snapshots.value.map(
                (one) => html`<option value=${one.snapshot_id}>
                  Step ${count(one.step)} · ${bytes(one.byte_count)} · ${one.snapshot_id}
                </option>`,
              )}
            </select>
          </label>
          ${
            !newest &&
            html`<p class="hint" data-testid="from-the-beginning">
              It starts at step 1 again, or where the training code finds a checkpoint of its own. What it did before
              stays, as an abandoned attempt.
            </p>`
          }
          ${
            (chosen.value || newest) &&
            html`<p class="hint">
              That snapshot was committed <${Ago}
                time=${(snapshots.value.find((one) => one.snapshot_id === chosen.value) ?? newest)?.commit_time}
              />.
            </p>`
          }
        `
      }
      ${
        !trial &&
        html`<details open=${word === 'Continue'}>
          <summary>Change the configuration (length of training, limits, retries, snapshots, priority)</summary>
          <label class="field">
            <span>Only what changes, as YAML or JSON</span>
            <textarea
              rows="4"
              spellcheck="false"
              placeholder="parameters: {epochs: 6}"
              value=${changes.value}
              onInput=${(event) => (changes.value = event.target.value)}
            ></textarea>
          </label>
        </details>`
      }
      <${Footer}
        onClose=${onClose}
        command=${command}
        label=${word}
        working=${word === 'Resume' ? 'Resuming…' : 'Continuing…'}
      />
    </form>
  <//>`
}

/** @param {{ runtime: Api.Runtime, onClose: () => void }} properties */
export function CloneDialog({ runtime, onClose }) {
  const name = useSignal(`${runtime.display_name} (copy)`)
  const changes = useSignal('')
  const command = useCommand((answer) => navigate(`/runtimes/${answer.runtime.runtime_id}`))
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault()
    command.run((id) =>
      post(`/runtimes/${runtime.runtime_id}:clone`, {
        display_name: name.value,
        configuration_changes_text: changes.value,
        request_id: id,
      }),
    )
  }
  return html`<${Dialog} title=${`Clone ${runtime.display_name}`} onClose=${onClose}>
    <form onSubmit=${submit} class="dialog-form">
      <p>Starts a new runtime with the same configuration, from step 1. This one stays as it is.</p>
      <label class="field">
        <span>Name</span>
        <input
          type="text"
          required
          maxlength="200"
          value=${name.value}
          onInput=${(event) => (name.value = event.target.value)}
        />
      </label>
      <label class="field">
        <span>Changes to the configuration, as YAML or JSON (optional)</span>
        <textarea
          rows="4"
          spellcheck="false"
          placeholder="parameters: {learning_rate: 0.001}"
          value=${changes.value}
          onInput=${(event) => (changes.value = event.target.value)}
        ></textarea>
      </label>
      <${Footer} onClose=${onClose} command=${command} label="Start the clone" working="Starting…" />
    </form>
  <//>`
}

/**
 * Start a runtime at a snapshot of a trial.
 *
 * @param {{ runtime: Api.Runtime, trial: number, snapshot: string, step: number, onClose: () => void }} properties
 */
export function BranchDialog({ runtime, trial, snapshot, step, onClose }) {
  const parameters = useSignal('')
  const changes = useSignal('')
  const command = useCommand((answer) => navigate(`/runtimes/${answer.runtime.runtime_id}`))
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault()
    command.run((id) =>
      post(`/runtimes/${runtime.runtime_id}/trials/${trial}:branch`, {
        snapshot_id: snapshot,
        parameters_text: parameters.value,
        configuration_changes_text: changes.value,
        request_id: id,
      }),
    )
  }
  return html`<${Dialog} title=${`Branch at step ${count(step)}`} onClose=${onClose}>
    <form onSubmit=${submit} class="dialog-form">
      <p>
        Starts a new runtime with everything that was saved at step ${count(step)}; its first step is the next one. This
        one stays as it is, and keeps the snapshot until the branch is deleted.
      </p>
      <label class="field">
        <span>Parameters to change, as YAML or JSON</span>
        <textarea
          rows="3"
          spellcheck="false"
          placeholder="learning_rate: 0.001"
          value=${parameters.value}
          onInput=${(event) => (parameters.value = event.target.value)}
        ></textarea>
      </label>
      <label class="field">
        <span>What else changes (optional): a search, name, labels, limits, retries, snapshots, priority</span>
        <textarea
          rows="3"
          spellcheck="false"
          placeholder="search: {space: {learning_rate: [0.001, 0.01]}}"
          value=${changes.value}
          onInput=${(event) => (changes.value = event.target.value)}
        ></textarea>
      </label>
      <${Footer} onClose=${onClose} command=${command} label="Start the branch" working="Starting…" />
    </form>
  <//>`
}

/** @param {{ runtime: Api.Runtime, onClose: () => void }} properties */
export function DeleteDialog({ runtime, onClose }) {
  const typed = useSignal('')
  const purge = useSignal(false)
  /** @type {Signal<string[]>} */
  const branches = useSignal([])
  /** @type {Signal<number[]>} */
  const pinned = useSignal([])
  useEffect(() => {
    get(`/runtimes/${runtime.runtime_id}/snapshots`).then(
      (answer) => {
        const snapshots = answer.snapshots ?? []
        branches.value = [...new Set(snapshots.flatMap((one) => one.held_by ?? []))].sort()
        pinned.value = snapshots.filter((one) => one.pin).map((one) => Number(one.step ?? 0))
      },
      // The service refuses what it must, and names them.
      () => {},
    )
  }, [])
  const wanted = runtime.display_name || runtime.runtime_id
  const started = runtime.status === 'Started'
  const command = useCommand(() => {
    onClose()
    navigate(purge.peek() ? '/' : `/?deleted=${runtime.runtime_id}`)
  })
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault()
    command.run((id) =>
      remove(`/runtimes/${runtime.runtime_id}`, {
        force: started || branches.value.length > 0 || pinned.value.length > 0 || undefined,
        purge: purge.value || undefined,
        request_id: id,
      }),
    )
  }
  return html`<${Dialog} title=${`Delete ${wanted}`} onClose=${onClose}>
    <form onSubmit=${submit} class="dialog-form">
      <p>
        ${started ? html`<strong>It is running: it is stopped abruptly first. </strong>` : ''}It is hidden at once. Its
        snapshots, metrics and logs are removed when the restore window of this installation is over; until then it can
        be restored. The events stay, so that what happened can still be proved.
      </p>
      ${
        pinned.value.length > 0 &&
        html`<p class="hint" data-testid="pinned">
          It has ${plural(pinned.value.length, 'pinned snapshot')}, at step ${pinned.value.map(count).join(', ')}: with
          its data they go too.
        </p>`
      }
      ${
        branches.value.length > 0 &&
        html`<p class="hint" data-testid="branches">
          ${branches.value.join(', ')} began at its snapshots. These snapshots are kept until the last of them is
          deleted; their curves begin at the branch then.
        </p>`
      }
      <label class="field">
        <span>Type <code>${wanted}</code> to confirm</span>
        <input
          type="text"
          autocomplete="off"
          spellcheck="false"
          value=${typed.value}
          onInput=${(event) => (typed.value = event.target.value)}
        />
      </label>
      <label class="check">
        <input type="checkbox" checked=${purge.value} onChange=${() => (purge.value = !purge.value)} /> Remove its data
        now: it cannot be restored
      </label>
      <${Footer}
        onClose=${onClose}
        command=${command}
        label=${purge.value ? 'Delete for good' : 'Delete'}
        working="Deleting…"
        tone="danger"
        disabled=${typed.value.trim() !== wanted}
      />
    </form>
  <//>`
}

/**
 * The dialog of a command by its name.
 *
 * @param {{ kind: Kind } & Record<string, unknown>} properties
 */
export function Commands({ kind, ...rest }) {
  const dialogs = {
    stop: StopDialog,
    resume: ResumeDialog,
    clone: CloneDialog,
    branch: BranchDialog,
    steer: SteerDialog,
    delete: DeleteDialog,
  }
  return html`<${dialogs[kind]} ...${rest} />`
}
