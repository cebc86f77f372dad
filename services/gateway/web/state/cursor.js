// @ts-check
// The step that all charts and the step monitor point at: where the pointer is, else what was pinned.
import { computed, signal } from '../vendor/signals.js'

/** @import { Signal } from '../vendor/signals.js' */

export class Cursor {
  constructor() {
    // A step, or undefined. A click, a key, an event or a log line pins it; the pointer passes over it.
    /** @type {Signal<number | undefined>} */
    this.pinned = signal(undefined)
    /** @type {Signal<{ step: number, source: string } | null>} */
    this.hovered = signal(null)
    /** {step, source} or null. */
    this.at = computed(
      () => this.hovered.value ?? (this.pinned.value === undefined ? null : { step: this.pinned.value, source: 'pin' }),
    )
  }

  /**
   * @param {number} step
   * @param {string} source
   */
  hover(step, source) {
    this.hovered.value = { step, source }
  }

  /**
   * The pointer is no longer there; what another source shows stays.
   *
   * @param {string} source
   */
  leave(source) {
    if (this.hovered.peek()?.source === source) this.hovered.value = null
  }

  /** @param {number | undefined} step */
  pin(step) {
    this.pinned.value = step
  }

  unpin() {
    this.pinned.value = undefined
  }
}
