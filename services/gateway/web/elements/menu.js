// @ts-check
// A button that opens a short list of things to do.
import { html, useEffect, useRef, useSignal } from '../html.js'

/** @import { ComponentChildren, RefObject } from '../vendor/preact.js' */

/**
 * @param {HTMLElement | null} root
 * @returns {HTMLElement[]}
 */
const entriesOf = (root) => [...(root?.querySelectorAll('[role=menuitem]') ?? [])].filter(isHtml)

/**
 * @param {Element} one
 * @returns {one is HTMLElement}
 */
const isHtml = (one) => one instanceof HTMLElement

/**
 * `items`: [[label, act]]. `look` is the class of the button.
 *
 * @param {{
 *   label: string,
 *   items: [string, () => void][],
 *   look?: string,
 *   children?: ComponentChildren,
 * }} properties
 */
export function Menu({ label, items, look = 'quiet', children }) {
  const open = useSignal(false)
  /** @type {RefObject<HTMLElement | null>} */
  const root = useRef(null)
  useEffect(() => {
    if (!open.value) return undefined
    /** @param {Event} event */
    const close = (event) =>
      !(event.target instanceof Node && root.current?.contains(event.target)) && (open.value = false)
    document.addEventListener('pointerdown', close)
    entriesOf(root.current)[0]?.focus()
    return () => document.removeEventListener('pointerdown', close)
  }, [open.value])
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => {
    const entries = entriesOf(root.current)
    const at = entries.findIndex((one) => one === document.activeElement)
    if (event.key === 'Escape') open.value = false
    else if (event.key === 'ArrowDown') entries[(at + 1) % entries.length]?.focus()
    else if (event.key === 'ArrowUp') entries[(at - 1 + entries.length) % entries.length]?.focus()
    else return
    event.preventDefault()
    event.stopPropagation()
    if (event.key === 'Escape') root.current?.querySelector('button')?.focus()
  }
  /** @param {() => void} act */
  const choose = (act) => {
    open.value = false
    act()
  }
  return html`<span class="menu" ref=${root} onKeyDown=${open.value ? onKeyDown : undefined}>
    <button
      type="button"
      class=${look}
      aria-haspopup="menu"
      aria-expanded=${open.value}
      aria-label=${label}
      title=${label}
      onClick=${() => (open.value = !open.value)}
    >
      ${children}
    </button>
    ${
      open.value &&
      html`<span class="menu-list" role="menu">
        ${items.map(
          ([text, act]) =>
            html`<button type="button" role="menuitem" key=${text} onClick=${() => choose(act)}>${text}</button>`,
        )}
      </span>`
    }
  </span>`
}
