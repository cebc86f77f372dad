// @ts-check
// Whether what one sees is live.
import { html } from '../html.js'

/** @import { ReadonlySignal } from '../vendor/signals.js' */

/** @type {Record<string, string[]>} */
const texts = {
  live: ['Live', 'Changes are shown as they happen'],
  connecting: ['Connecting', 'Opening the live stream'],
  reconnecting: ['Reconnecting', 'The stream was lost. What you see is as of then; nothing is missed'],
  paused: ['Paused', 'This tab was in the background. It goes on where it was'],
  past: ['Past', 'You look at a past moment'],
}

/** @param {{ connection: ReadonlySignal<string> }} properties */
export function Badge({ connection }) {
  const state = connection.value
  const [word, explanation] = texts[state] ?? [state, '']
  return html`<span class="badge" data-state=${state} title=${explanation} role="status">
    <span class="dot"></span>${word}
  </span>`
}
