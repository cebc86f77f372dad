// @ts-check
// What changes many times a second, looked at less often: for what is costly to draw.
import { effect } from '../vendor/signals.js'
import { useEffect, useSignal } from '../html.js'

/** @import { ReadonlySignal } from '../vendor/signals.js' */

/**
 * A signal that follows another one, at once and then after a pause at the earliest.
 *
 * @template Value
 * @param {ReadonlySignal<Value>} source
 * @param {number} pause milliseconds
 * @returns {ReadonlySignal<Value>}
 */
export function useSlowly(source, pause) {
  const shown = useSignal(source.peek())
  useEffect(() => {
    /** @type {Timer} */
    let timer
    const stop = effect(() => {
      const value = source.value
      if (timer !== undefined) return
      shown.value = value
      timer = setTimeout(() => {
        timer = undefined
        shown.value = source.peek()
      }, pause)
    })
    return () => {
      stop()
      clearTimeout(timer)
    }
  }, [source])
  return shown
}
