// A button that opens a short list of things to do.
import { html, useEffect, useRef, useSignal } from '../html.js'

/** `items`: [[label, act]]. */
export function Menu({ label, items, children }) {
  const open = useSignal(false)
  const root = useRef(null)
  useEffect(() => {
    if (!open.value) return undefined
    const close = (event) => !root.current?.contains(event.target) && (open.value = false)
    document.addEventListener('pointerdown', close)
    root.current.querySelector('[role=menuitem]')?.focus()
    return () => document.removeEventListener('pointerdown', close)
  }, [open.value])
  const onKeyDown = (event) => {
    const entries = [...root.current.querySelectorAll('[role=menuitem]')]
    const at = entries.indexOf(document.activeElement)
    if (event.key === 'Escape') open.value = false
    else if (event.key === 'ArrowDown') entries[(at + 1) % entries.length]?.focus()
    else if (event.key === 'ArrowUp') entries[(at - 1 + entries.length) % entries.length]?.focus()
    else return
    event.preventDefault()
    event.stopPropagation()
    if (event.key === 'Escape') root.current.querySelector('button').focus()
  }
  const choose = (act) => {
    open.value = false
    act()
  }
  return html`<span class="menu" ref=${root} onKeyDown=${open.value ? onKeyDown : undefined}>
    <button type="button" class="quiet" aria-haspopup="menu" aria-expanded=${open.value} aria-label=${label} title=${label} onClick=${() => (open.value = !open.value)}>${children}</button>
    ${open.value && html`<span class="menu-list" role="menu">${items.map(([text, act]) => html`<button type="button" role="menuitem" key=${text} onClick=${() => choose(act)}>${text}</button>`)}</span>`}
  </span>`
}
