// @ts-check
// Times that run: counted here between two messages, so that they tick without asking.
import { html } from '../html.js'
import { now } from '../state/clock.js'
import { ago, clock, duration } from '../functions/format.js'

/**
 * Seconds as of `at` (performance.now()), running on if `runs`.
 *
 * @param {{ seconds: number | null | undefined, at: number, runs: boolean }} properties
 */
export function Elapsed({ seconds, at, runs }) {
  if (seconds === undefined || seconds === null) return html`<span class="time">–</span>`
  // Reading the clock makes this element tick.
  const tick = runs ? now.value : 0
  const shown = runs && tick ? seconds + (performance.now() - at) / 1000 : seconds
  return html`<span class="time">${duration(shown)}</span>`
}

/**
 * Remaining seconds as of `at`, counted down, never below zero.
 *
 * @param {{ estimate: Api.Estimate | null | undefined, at: number, runs?: boolean }} properties
 */
export function Remaining({ estimate, at, runs = true }) {
  if (!estimate || estimate.remaining === null || estimate.remaining === undefined)
    return html`<span class="time">–</span>`
  const tick = runs ? now.value : 0
  const left = tick ? estimate.remaining - (performance.now() - at) / 1000 : estimate.remaining
  return html`<span class="time">${duration(Math.max(0, left))}</span>`
}

/**
 * "5 m ago" with the exact time as a tooltip.
 *
 * @param {{ time: string | null | undefined }} properties
 */
export function Ago({ time }) {
  return html`<time dateTime=${time} title=${time ? new Date(time).toLocaleString() : ''}>
    ${ago(time, now.value)}
  </time>`
}

/**
 * The clock time of a moment.
 *
 * @param {{ time: string | null | undefined, seconds?: boolean }} properties
 */
export function At({ time, seconds = true }) {
  return html`<time dateTime=${time} title=${time ? new Date(time).toLocaleString() : ''}>
    ${clock(time, new Date(now.peek()), seconds)}
  </time>`
}
