// @ts-check
// Keys, one table for all: the element on top that knows a key gets it.
import { useLayoutEffect, useRef } from '../vendor/hooks.js'

/** @typedef {{ [key: string]: (event: KeyboardEvent) => unknown }} Actions */

/** @type {{ current: Actions }[]} */
const layers = []

window.addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey) return
  const target = event.target instanceof Element ? event.target : undefined
  const typing = target?.closest(
    'input:not([type=range], [type=checkbox], [type=radio]), textarea, select, [contenteditable]',
  )
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

/**
 * While the element is there, these keys do this. An action that returns false passes the key on.
 *
 * @param {Actions} actions
 */
export function useKeys(actions) {
  const layer = useRef(actions)
  layer.current = actions
  // With the element, not a frame later: it can be seen, so its keys work.
  useLayoutEffect(() => {
    layers.push(layer)
    return () => layers.splice(layers.indexOf(layer), 1)
  }, [])
}

/**
 * `j` and `k` move the focus among the elements of `frame` that `selector` finds.
 *
 * @param {{ current: HTMLElement | null }} frame
 * @param {string} selector
 */
export function useRowKeys(frame, selector) {
  /** @param {number} by */
  const move = (by) => {
    /** @type {NodeListOf<HTMLElement> | undefined} */
    const found = frame.current?.querySelectorAll(selector)
    const rows = [...(found ?? [])]
    if (rows.length === 0) return false
    const at = rows.findIndex((row) => row === document.activeElement)
    rows[at === -1 ? 0 : Math.min(rows.length - 1, Math.max(0, at + by))].focus()
    return true
  }
  useKeys({ j: () => move(1), k: () => move(-1) })
}
