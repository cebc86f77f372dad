// @ts-check
// The bell: how much rules have open, and what it is.
import { html, useEffect, useRef, useSignal } from '../html.js'
import { get } from '../api.js'
import { count, plural } from '../functions/format.js'
import { firingAddress, firingPlace, severityTone } from '../functions/rules.js'
import { openFirings } from '../state/bell.js'
import { Stream } from '../stream.js'
import { Icon } from './icon.js'
import { Ago } from './live_time.js'
import { Tag } from './status.js'

/**
 * @import { RefObject } from '../vendor/preact.js'
 * @import { Signal } from '../vendor/signals.js'
 */

const rowsShown = 12
const most = 99

/**
 * `alone`: the page has no stream of its own.
 *
 * @param {{ alone?: boolean }} properties
 */
export function Bell({ alone }) {
  const shown = useSignal(false)
  /** @type {RefObject<HTMLElement | null>} */
  const root = useRef(null)
  useEffect(() => {
    if (!alone) return undefined
    const stream = new Stream('/stream', {})
    stream.subscribe([])
    return () => stream.close()
  }, [alone])
  useEffect(() => {
    if (!shown.value) return undefined
    /** @param {Event} event */
    const close = (event) =>
      !(event.target instanceof Node && root.current?.contains(event.target)) && (shown.value = false)
    document.addEventListener('pointerdown', close)
    return () => document.removeEventListener('pointerdown', close)
  }, [shown.value])
  const open = openFirings.value?.count ?? 0
  const label = open > 0 ? `${plural(open, 'firing')} open` : 'No firing is open'
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    if (event.key !== 'Escape') return
    event.preventDefault()
    event.stopPropagation()
    shown.value = false
    root.current?.querySelector('button')?.focus()
  }
  return html`<span class="bell" ref=${root} onKeyDown=${shown.value ? onKeyDown : undefined}>
    <button
      type="button"
      class="quiet round"
      aria-expanded=${shown.value}
      aria-label=${label}
      title=${label}
      onClick=${() => (shown.value = !shown.value)}
    >
      <${Icon} name="bell" />
      ${open > 0 && html`<span class="bell-count">${open > most ? `${most}+` : open}</span>`}
    </button>
    ${shown.value && html`<${BellList} onGo=${() => (shown.value = false)} />`}
  </span>`
}

/** @param {{ onGo: () => void }} properties */
function BellList({ onGo }) {
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
