// @ts-check
// What rules have open, in a list below the bell.
import { html, useEffect, useSignal } from '../html.js'
import { get } from '../api.js'
import { count } from '../functions/format.js'
import { firingAddress, firingPlace, severityTone } from '../functions/rules.js'
import { openFirings } from '../state/bell.js'
import { Ago } from './live_time.js'
import { Tag } from './status.js'

/** @import { Signal } from '../vendor/signals.js' */

const rowsShown = 12

/** @param {{ onGo: () => void }} properties */
export function BellList({ onGo }) {
  const open = openFirings.value
  const firings = open?.firings ?? []
  const shown = firings.slice(0, rowsShown)
  const names = useNames(shown.map((one) => one.runtime))
  const more = (open?.count ?? 0) - shown.length
  return html`<div class="bell-list" role="region" aria-label="Open firings">
    ${
      shown.length === 0 &&
      html`<p class="faint">${open ? 'No firing is open.' : 'The rule service does not answer.'}</p>`
    }
    <ul>
      ${shown.map(
        (one) => html`<li key=${one.event_id}>
          <a href=${firingAddress(one)} onClick=${onGo}>
            <span class="bell-head">
              <${Tag} tone=${severityTone(one)}>${(one.fired?.severity ?? 'WARNING').toLowerCase()}<//>
              <b>${one.fired?.rule_name || one.fired?.rule_id}</b>
              <span class="faint"><${Ago} time=${one.record_time} /></span>
            </span>
            <span>${one.fired?.message}</span>
            <span class="faint">${firingPlace(one, names)}</span>
          </a>
        </li>`,
      )}
    </ul>
    <a class="bell-all" href="/rules" onClick=${onGo}>
      ${more > 0 ? `${count(more)} more, and all rules` : 'All rules and firings'}
    </a>
  </div>`
}

/**
 * Names of runs, for as long as the list is shown.
 *
 * @param {string[]} runtimes
 */
function useNames(runtimes) {
  /** @type {Signal<Map<string, string>>} */
  const names = useSignal(new Map())
  const wanted = [...new Set(runtimes)].sort().join()
  useEffect(() => {
    for (const name of wanted ? wanted.split(',') : []) {
      if (names.peek().has(name)) continue
      get(/** @type {`/runtimes/${string}`} */ (`/${name}`)).then(
        ({ runtime }) => runtime && (names.value = new Map([...names.peek(), [name, runtime.display_name]])),
        // It is shown by its id.
        () => {},
      )
    }
  }, [wanted])
  return names.value
}
