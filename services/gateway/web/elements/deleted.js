// @ts-check
// Deleted runtimes whose data is still there: until when they can come back, and the button that brings them back.
import { html, useEffect, useSignal } from '../html.js'
import { get, getAll, post, requestId } from '../api.js'
import { duration } from '../functions/format.js'
import { now } from '../state/clock.js'
import { navigate } from '../state/location.js'
import { Action } from './button.js'
import { Dialog, Problem } from './dialog.js'
import { Empty } from './empty.js'
import { Ago } from './live_time.js'

/** @import { Signal } from '../vendor/signals.js' */

/** @param {Api.Runtime} runtime */
function restore(runtime) {
  return post(`/runtimes/${runtime.runtime_id}:undelete`, { request_id: requestId() })
}

/**
 * The time until the data of a runtime goes.
 *
 * @param {{ runtime: Api.Runtime }} properties
 */
function Left({ runtime }) {
  const until = new Date(runtime.purge_time ?? '')
  const left = (until.getTime() - now.value) / 1000
  return html`<time dateTime=${runtime.purge_time} title=${until.toLocaleString()}>
    ${left > 0 ? `${duration(left)} left` : 'being removed'}
  </time>`
}

/**
 * What was just deleted, with the way back.
 *
 * @param {{ id: string, onClose: () => void }} properties
 */
export function Undo({ id, onClose }) {
  const runtime = useDeleted(id)
  if (!runtime?.purge_time) return null
  return html`<p class="filter-hint" role="status" data-testid="undo">
    ${runtime.display_name || id} was deleted: <${Left} runtime=${runtime} />.${' '}
    <${Action}
      act=${() => restore(runtime).then(() => navigate(`/runtimes/${id}`))}
      label="Undo"
      working="Restoring…"
      tone="small"
    />
    <button type="button" class="quiet" onClick=${onClose} aria-label="Dismiss">×</button>
  </p>`
}

/**
 * In place of a runtime that is not shown: unknown, purged, or deleted and restorable.
 *
 * @param {{ id: string, restorable: boolean }} properties
 */
export function Gone({ id, restorable }) {
  const runtime = useDeleted(id)
  if (runtime?.purge_time)
    return html`<${Empty} title=${`${runtime.display_name || id} is deleted`}>
      <p>It was deleted <${Ago} time=${runtime.delete_time} /> and can come back: <${Left} runtime=${runtime} />.</p>
      ${
        restorable &&
        html`<${Action}
          act=${() => restore(runtime).then(() => window.location.reload())}
          label="Restore"
          working="Restoring…"
          tone="primary"
        />`
      }
    <//>`
  return html`<${Empty} title="There is no such runtime" command="milepost runtime list">
    <code>${id}</code> is ${runtime ? 'deleted, and its data is removed' : 'unknown here'}. <a href="/">All runtimes</a>
  <//>`
}

/**
 * A runtime that is deleted; null where there is none, or while it is asked for.
 *
 * @param {string} id
 */
function useDeleted(id) {
  /** @type {Signal<Api.Runtime | null>} */
  const runtime = useSignal(null)
  useEffect(() => {
    get(`/runtimes/${id}`, { show_deleted: true }).then(
      (answer) => (runtime.value = answer.runtime?.deleted ? answer.runtime : null),
      () => (runtime.value = null),
    )
  }, [id])
  return runtime.value
}

/** @param {{ onClose: () => void }} properties */
export function DeletedDialog({ onClose }) {
  /** @type {Signal<Api.Runtime[] | null>} */
  const runtimes = useSignal(null)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  const load = () =>
    getAll('/runtimes', 'runtimes', { filter: 'phase=RESTORABLE', show_deleted: true }).then(
      (answer) => (runtimes.value = answer.runtimes ?? []),
      (failure) => (error.value = failure),
    )
  useEffect(() => {
    load()
  }, [])
  return html`<${Dialog} title="Deleted runtimes" onClose=${onClose} wide>
    <${Problem} error=${error.value} />
    ${
      runtimes.value?.length === 0 &&
      html`<${Empty} title="Nothing can be restored">
        A deleted runtime is listed here until its data is removed.
      <//>`
    }
    ${
      runtimes.value &&
      runtimes.value.length > 0 &&
      html`<table class="plain wide">
        <thead>
          <tr>
            <th scope="col">Runtime</th>
            <th scope="col">Deleted</th>
            <th scope="col">By</th>
            <th scope="col">Can be restored</th>
            <th scope="col"></th>
          </tr>
        </thead>
        <tbody>
          ${runtimes.value.map(
            (one) => html`<tr key=${one.runtime_id}>
              <td title=${one.runtime_id}>${one.display_name || one.runtime_id}</td>
              <td><${Ago} time=${one.delete_time} /></td>
              <td>${one.changed_by}</td>
              <td><${Left} runtime=${one} /></td>
              <td>
                <${Action} act=${() => restore(one).then(load)} label="Restore" working="Restoring…" tone="small" />
              </td>
            </tr>`,
          )}
        </tbody>
      </table>`
    }
  <//>`
}
