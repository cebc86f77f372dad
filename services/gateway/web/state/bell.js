// @ts-check
// What rules have open, in all runs: on every page, live by the stream that the page has.
import { signal } from '../vendor/signals.js'

/** @import { Signal } from '../vendor/signals.js' */

/** The topic of a live stream that says so. */
export const bellTopic = 'firings'

/**
 * Null while it is not known, as without the rule service.
 *
 * @type {Signal<Api.OpenFirings | null>}
 */
export const openFirings = signal(null)

/** @param {Api.WatchFiringsResponse} message */
export function ring({ open }) {
  if (open) openFirings.value = open
}
