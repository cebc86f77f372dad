// @ts-check
// The bell: how much rules have open, and what it is.
import { html, useEffect, useRef, useSignal } from '../html.js'
import { plural } from '../functions/format.js'
import { openFirings } from '../state/bell.js'
import { Stream } from '../stream.js'
import { Icon } from './icon.js'
import { lazy, stylesheet } from './lazy.js'

/** @import { RefObject } from '../vendor/preact.js' */

const BellList = lazy(() =>
  Promise.all([import('./bell_list.js'), stylesheet('/static/css/bell_list.css')]).then(([module]) => module.BellList),
)

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
