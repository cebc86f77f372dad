// @ts-check
// Saved states: which of them one can go on from.
import { html, useEffect, useSignal } from '../html.js'
import { get, post, requestId } from '../api.js'
import { bytes, count, plural, title, value as number, words } from '../functions/format.js'
import { spelled } from '../functions/names.js'
import { numbers } from '../functions/wire.js'
import { Action, Copy } from './button.js'
import { Problem } from './dialog.js'
import { Empty } from './empty.js'
import { lazy, stylesheet } from './lazy.js'
import { At } from './live_time.js'
import { Tag } from './status.js'

/**
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { Signal } from '../vendor/signals.js'
 * @import { Open } from './commands.js'
 */

/** @type {Record<string, string>} */
const tones = { COMMITTED: 'good', CORRUPT: 'bad', DELETED: 'neutral' }

const Lineage = lazy(() =>
  Promise.all([import('./lineage.js'), stylesheet('/static/css/lineage.css')]).then(([module]) => module.Lineage),
)

// Of a search with many trials the table has the rest.
const foldersShown = 3

/** @param {{ state: RuntimeState, open?: Open }} properties */
export function Snapshots({ state, open }) {
  /** @type {Signal<Api.Snapshot[] | null>} */
  const snapshots = useSignal(null)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  const deleted = useSignal(false)
  // Grows when something here was changed.
  const changes = useSignal(0)
  const trial = state.trial.value
  const newest = trial?.newest_snapshot_id
  useEffect(() => {
    get(`/runtimes/${state.id}/snapshots`, { show_deleted: deleted.value }).then(
      (answer) => {
        snapshots.value = answer.snapshots ?? []
        error.value = null
      },
      (failure) => (error.value = failure),
    )
  }, [newest, deleted.value, changes.value])
  /** @param {Api.Snapshot} one */
  const pin = (one) =>
    post(`/runtimes/${state.id}/trials/${one.trial}:${one.pin ? 'unpinSnapshot' : 'pinSnapshot'}`, {
      snapshot_id: one.snapshot_id,
      request_id: requestId(),
    }).then(() => changes.value++)
  /** @param {string} what */
  const ask = (what) => post(`/${trial?.name}:${what}`, { request_id: requestId() })
  const runtime = state.runtime.value
  const resumable = open && ['Aborted', 'Failed'].includes(runtime?.status ?? '') && runtime?.trial_count === 1
  return html`<div class="snapshots">
    <${Lineage} state=${state} />
    <div class="events-bar">
      <label class="check">
        <input type="checkbox" checked=${deleted.value} onChange=${() => (deleted.value = !deleted.value)} /> Deleted
        ones too
      </label>
      ${
        open &&
        trial?.status === 'Running' &&
        html`<${Action}
            act=${() => ask('snapshot')}
            label="Snapshot now"
            tone="small"
            title="After a step that all ranks can still reach; it goes on training"
          />
          <${Action}
            act=${() => ask('evaluate')}
            label="Evaluate now"
            tone="small"
            title="Where the loop evaluates next; the events say what came of it"
          />`
      }
    </div>
    <${Problem} error=${error.value} />
    ${
      snapshots.value?.length === 0 &&
      html`<${Empty} title="No snapshots">
        A snapshot is taken as the configuration says (<code>snapshots</code>), on a graceful stop and at the end.
      <//>`
    }
    ${folders(snapshots.value).map(
      (folder) => html`<p class="snapshot-folder" key=${folder}>
        <span class="faint">In </span><code>${folder}</code><${Copy} text=${folder} title="Copy the address" />
      </p>`,
    )}
    ${
      snapshots.value &&
      snapshots.value.length > 0 &&
      html`<div class="table-frame" tabindex="0" role="region" aria-label="Snapshots">
        <table class="plain wide">
          <thead>
            <tr>
              <th scope="col">Step</th>
              <th scope="col">State</th>
              <th scope="col">Trial</th>
              <th scope="col">Attempt</th>
              <th scope="col">Epoch</th>
              <th scope="col">Committed</th>
              <th scope="col">Why</th>
              <th scope="col">Size</th>
              <th scope="col">Metrics</th>
              <th scope="col">Where</th>
              <th scope="col"></th>
            </tr>
          </thead>
          <tbody>
            ${snapshots.value.map(
              (one) => html`<tr key=${one.name} data-superseded=${one.superseded}>
                <td class="number">${count(one.step)}</td>
                <td>
                  <${Tag} tone=${tones[one.state ?? '']}>${title(one.state)}<//>
                  ${one.superseded ? html` <${Tag}>Superseded<//>` : ''}
                  ${
                    one.pin && one.state === 'COMMITTED'
                      ? html` <span title=${pinned(one.pin)}><${Tag}>Pinned<//></span>`
                      : ''
                  }
                  ${branches(one) ? html` <${Tag}>${plural(branches(one), 'branch', 'branches')}<//>` : ''}
                  ${isForOthers(one) ? html` <${Tag}>For other trials<//>` : ''}
                </td>
                <td class="number">${one.trial}</td>
                <td class="number">${one.attempt}</td>
                <td class="number">${one.epoch}</td>
                <td><${At} time=${one.commit_time} /></td>
                <td>${words(one.reason ?? '')}</td>
                <td class="number">${bytes(one.byte_count)}</td>
                <td>
                  ${Object.entries(numbers(one.metrics))
                    .map(([key, value]) => `${spelled(key)} ${number(value)}`)
                    .join(', ')}
                </td>
                <td class="uri">
                  <code title=${one.uri}>${one.snapshot_id}</code><${Copy} text=${one.uri} title="Copy the address" />
                </td>
                <td>
                  ${
                    resumable &&
                    one.state === 'COMMITTED' &&
                    !one.superseded &&
                    html`<button
                      type="button"
                      class="button small"
                      onClick=${() => open('resume', { snapshot: one.snapshot_id })}
                    >
                      Resume here
                    </button>`
                  }
                  ${
                    open &&
                    runtime?.configuration?.launcher !== 'external' &&
                    one.state === 'COMMITTED' &&
                    html`<button
                      type="button"
                      class="button small"
                      onClick=${() => open('branch', { trial: one.trial, snapshot: one.snapshot_id, step: one.step })}
                    >
                      Branch here
                    </button>`
                  }
                  ${
                    open &&
                    one.state === 'COMMITTED' &&
                    html`<${Action}
                      act=${() => pin(one)}
                      label=${one.pin ? 'Unpin' : 'Pin'}
                      tone="small"
                      title=${one.pin ? `${pinned(one.pin)}; it may be thinned again` : 'Keep it, whatever is thinned'}
                    />`
                  }
                </td>
              </tr>`,
            )}
          </tbody>
        </table>
      </div>`
    }
  </div>`
}

/** @param {Api.SnapshotPin} pin */
function pinned(pin) {
  return `Pinned by ${pin.actor}${pin.reason ? `: ${pin.reason}` : ''}`
}

/**
 * The folders that the snapshots which are still there lie in: one per trial.
 *
 * @param {Api.Snapshot[] | null} snapshots
 */
function folders(snapshots) {
  const there = (snapshots ?? []).filter((one) => one.state === 'COMMITTED' && one.uri)
  return [...new Set(there.map((one) => one.uri.replace(/\/[^/]*\/?$/, '')))].slice(0, foldersShown)
}

/**
 * Whether its own runtime keeps it: other trials of a population may begin there.
 *
 * @param {Api.Snapshot} one
 */
function isForOthers(one) {
  return (one.held_by ?? []).some((holder) => one.name.startsWith(`runtimes/${holder}/`))
}

/**
 * How many other runtimes began there.
 *
 * @param {Api.Snapshot} one
 */
function branches(one) {
  return (one.held_by?.length ?? 0) - Number(isForOthers(one))
}
