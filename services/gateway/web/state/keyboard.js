// Keys, one table for all: the element on top that knows a key gets it.
import { useLayoutEffect, useRef } from '../vendor/hooks.js'

const layers = []

window.addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey) return
  const typing = event.target.closest?.('input:not([type=range], [type=checkbox], [type=radio]), textarea, select, [contenteditable]')
  if (typing && event.key !== 'Escape') return
  // An open dialog has the keyboard to itself.
  if (document.querySelector('dialog[open]')) return
  for (const layer of layers.toReversed()) {
    const action = layer.current[event.key]
    if (!action) continue
    if (action(event) !== false) {
      event.preventDefault()
      return
    }
  }
})

/** While the element is there, these keys do this. An action that returns false passes the key on. */
export function useKeys(actions) {
  const layer = useRef(actions)
  layer.current = actions
  // With the element, not a frame later: it can be seen, so its keys work.
  useLayoutEffect(() => {
    layers.push(layer)
    return () => layers.splice(layers.indexOf(layer), 1)
  }, [])
}

/** `j` and `k` move the focus among the elements of `frame` that `selector` finds. */
export function useRowKeys(frame, selector) {
  const move = (by) => {
    const rows = [...(frame.current?.querySelectorAll(selector) ?? [])]
    if (rows.length === 0) return false
    const at = rows.indexOf(document.activeElement)
    rows[at === -1 ? 0 : Math.min(rows.length - 1, Math.max(0, at + by))].focus()
    return true
  }
  useKeys({ j: () => move(1), k: () => move(-1) })
}
