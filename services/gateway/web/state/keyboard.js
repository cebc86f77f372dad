// Keys, one table for all: the element on top that knows a key gets it.
import { useEffect, useRef } from '../vendor/hooks.js'

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
  useEffect(() => {
    layers.push(layer)
    return () => layers.splice(layers.indexOf(layer), 1)
  }, [])
}
