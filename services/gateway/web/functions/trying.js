// @ts-check
// A rule that is being made: what it would say, what it is drawn as, and what came of it on the past. Pure.
import { count, duration, plural } from './format.js'

/**
 * @typedef {{
 *   kind: string,
 *   series: string,
 *   comparison: string,
 *   value: string,
 *   window: string,
 *   deviations: string,
 *   direction: string,
 * }} Draft
 */
/** @typedef {{ middle: number[], allowed: number[] }} Spread */

// As the detector has it: before so many points a window says nothing.
const warmPoints = 8
const madToDeviation = 1.4826
// Of the range of the values: how far from the edge a bound begins.
const inset = 0.15

/**
 * The detector of a draft, as it is sent. What is no number is sent as it was typed, for the server to refuse.
 *
 * @param {Draft} draft
 * @returns {Record<string, Record<string, unknown>>}
 */
export function detectorOf({ kind, series, comparison, value, window, deviations, direction }) {
  if (kind === 'change')
    return { change: { series, window: typed(window), deviations: typed(deviations), direction: direction || null } }
  return { threshold: { series, comparison, value: typed(value) } }
}

/** @param {string} text */
function typed(text) {
  const found = Number(text)
  return text.trim() === '' || !Number.isFinite(found) ? text : found
}

/**
 * An id that says what a draft looks for: "train-loss-above".
 *
 * @param {Draft} draft
 */
export function idOf({ kind, series, comparison, direction }) {
  const what = kind === 'change' ? `jumps-${direction || 'off'}` : comparison
  return `${series}-${what}`
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, 63)
}

/**
 * The term that selects the runs of a name.
 *
 * @param {string} name
 */
export function selectorOf(name) {
  return name ? `name=${JSON.stringify(name)}` : ''
}

/**
 * Where a bound begins: inside the range of the values, so that it can be seen and taken.
 *
 * @param {number[]} values
 * @param {string} comparison
 */
export function firstBound(values, comparison) {
  const finite = values.filter(Number.isFinite)
  if (finite.length === 0) return 0
  const low = Math.min(...finite)
  const high = Math.max(...finite)
  return rounded(comparison === 'BELOW' ? low + inset * (high - low) : high - inset * (high - low), high - low)
}

/**
 * As many digits as matter for a range.
 *
 * @param {number} value
 * @param {number} range
 */
export function rounded(value, range) {
  const size = range > 0 ? range : Math.abs(value) || 1
  const digits = Math.min(100, Math.max(0, 3 - Math.ceil(Math.log10(size))))
  return Number(value.toFixed(digits))
}

/**
 * For each value the median of the `window` before it, and what one deviation is there; NaN while there are too few.
 * What is far does not enter the window, as in the detector.
 *
 * @param {number[]} values
 * @param {{ window: number, deviations: number, direction: string }} parts
 * @returns {Spread}
 */
export function spread(values, { window, deviations, direction }) {
  /** @type {number[]} */
  let kept = []
  let far = 0
  /** @type {Spread} */
  const found = { middle: [], allowed: [] }
  for (const value of values) {
    const warm = kept.length >= Math.min(warmPoints, window)
    const middle = warm ? median(kept) : NaN
    const one = warm ? madToDeviation * median(kept.map((other) => Math.abs(other - middle))) : NaN
    found.middle.push(middle)
    found.allowed.push(one)
    if (!Number.isFinite(value)) continue
    const away = value - middle
    const isFar = warm && Math.abs(away) > deviations * one && (away > 0 ? direction !== 'DOWN' : direction !== 'UP')
    if (isFar && far < window) {
      far += 1
      continue
    }
    if (isFar) kept = []
    far = 0
    kept = [...kept.slice(-(window - 1)), value]
  }
  return found
}

/** @param {number[]} values */
function median(values) {
  const sorted = Float64Array.from(values).sort()
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}

/**
 * Round numbers from `low` to `high`, about `wanted` of them.
 *
 * @param {number} low
 * @param {number} high
 * @param {number} wanted
 */
export function ticks(low, high, wanted) {
  const rough = (high - low) / wanted
  if (!(rough > 0) || !Number.isFinite(rough)) return [low]
  const size = 10 ** Math.floor(Math.log10(rough))
  const step = size * ([1, 2, 5].find((one) => one * size >= rough) ?? 10)
  const first = Math.ceil(low / step)
  const last = Math.floor(high / step)
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)))
}

/**
 * What firings in one run are in words.
 *
 * @param {Api.RuleFired[]} firings
 * @param {number} [limit] after which a rule is silent
 */
export function foundIn(firings, limit = 10) {
  if (firings.length === 0) return 'It would not have fired in this run.'
  const limited = firings.length >= limit ? ', as often as it may' : ''
  const first = count(firings[0].step)
  return `It would have fired ${plural(firings.length, 'time')} in this run${limited}, first at step ${first}.`
}

/**
 * What a test says of one run: a word and its tone.
 *
 * @param {Api.TestedRun} run
 */
export function verdictOf({ firings, failed, lead_seconds: lead }) {
  if (failed && lead !== null && lead !== undefined) return { tone: 'good', word: 'foreseen' }
  if (failed) return { tone: 'bad', word: 'missed' }
  return firings.length > 0 ? { tone: 'warning', word: 'false alarm' } : { tone: 'neutral', word: 'silent' }
}

/**
 * All runs of a test, in one sentence.
 *
 * @param {Api.TestSummary} summary
 */
export function summaryOf(summary) {
  const runs = `${plural(summary.run_count, 'run')}${summary.truncated ? ' (there are more)' : ''}`
  const lead = summary.foreseen_count
    ? `, ${duration(Number(summary.median_lead_seconds))} before the failure in the median`
    : ''
  return [
    `Fired ${plural(summary.firing_count, 'time')} in ${count(summary.fired_run_count)} of ${runs}.`,
    `Foresaw ${count(summary.foreseen_count)} of ${plural(summary.failed_run_count, 'failed run')}${lead},`,
    `missed ${count(summary.missed_count)}; ${plural(summary.false_alarm_count, 'false alarm')}.`,
  ].join(' ')
}
