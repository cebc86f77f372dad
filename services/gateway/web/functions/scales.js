// @ts-check
// Scales of one dimension: where a value lies between two ends, and what stands beside them. Pure.
import { value as number } from './format.js'
import { ticks } from './trying.js'

/**
 * Shares are from 0, the low end, to 1. Of a list of words each has its place, in order.
 *
 * @typedef {{
 *   name: string,
 *   kind: 'number' | 'word',
 *   log: boolean,
 *   low: number,
 *   high: number,
 *   words: string[],
 * }} Scale
 */
/** @typedef {{ share: number, text: string }} Mark */
/** @typedef {number | string | boolean | null | undefined} Value */

// Values that are so many times apart are told apart on a logarithmic scale only.
const logFrom = 100

/**
 * A scale over some values: of words where one of them is no number, else of numbers.
 *
 * @param {string} name
 * @param {Value[]} values those that are not there, NaN and infinities have no place
 * @param {{ log?: boolean }} [options] `log`: undefined: as the values are
 * @returns {Scale}
 */
export function scaleOf(name, values, { log } = {}) {
  const there = values.filter((one) => one !== undefined && one !== null)
  const plain = there.every((one) => typeof one === 'number')
  if (!plain) {
    const words = [...new Set(there.map(String))].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    return { name, kind: 'word', log: false, low: 0, high: Math.max(1, words.length - 1), words }
  }
  let [low, high] = [Infinity, -Infinity]
  for (const one of /** @type {number[]} */ (there)) {
    if (!Number.isFinite(one)) continue
    low = Math.min(low, one)
    high = Math.max(high, one)
  }
  if (low > high) [low, high] = [0, 1]
  const wide = log ?? (low > 0 && high / low >= logFrom)
  if (low === high)
    [low, high] =
      low > 0 && wide ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2]
  return { name, kind: 'number', log: wide && low > 0, low, high, words: [] }
}

/**
 * Where a value lies; undefined: nowhere.
 *
 * @param {Scale} scale
 * @param {Value} value
 */
export function shareOf(scale, value) {
  if (value === undefined || value === null) return undefined
  if (scale.kind === 'word') {
    const at = scale.words.indexOf(String(value))
    if (at === -1) return undefined
    return scale.words.length === 1 ? 0.5 : at / (scale.words.length - 1)
  }
  const given = Number(value)
  if (!Number.isFinite(given) || (scale.log && given <= 0)) return undefined
  const [low, high, at] = scale.log ? [scale.low, scale.high, given].map(Math.log) : [scale.low, scale.high, given]
  return (at - low) / (high - low)
}

/**
 * The value at a share, as one reads it.
 *
 * @param {Scale} scale
 * @param {number} share
 */
export function textAt(scale, share) {
  if (scale.kind === 'word') return scale.words[Math.round(share * (scale.words.length - 1))] ?? ''
  return number(valueAt(scale, share), 3)
}

/**
 * @param {Scale} scale of numbers
 * @param {number} share
 */
export function valueAt(scale, share) {
  if (!scale.log) return scale.low + share * (scale.high - scale.low)
  return Math.exp(Math.log(scale.low) + share * (Math.log(scale.high) - Math.log(scale.low)))
}

/**
 * What stands beside a scale: all words, or some round numbers.
 *
 * @param {Scale} scale
 * @param {number} wanted
 * @returns {Mark[]}
 */
export function marksOf(scale, wanted) {
  if (scale.kind === 'word') {
    const every = Math.max(1, Math.ceil(scale.words.length / Math.max(1, wanted)))
    return scale.words
      .filter((_, i) => i % every === 0)
      .map((text) => ({ share: /** @type {number} */ (shareOf(scale, text)), text }))
  }
  const values = scale.log ? powers(scale, wanted) : ticks(scale.low, scale.high, wanted)
  return values
    .map((value) => ({ share: /** @type {number} */ (shareOf(scale, value)), text: number(value, 3) }))
    .filter(({ share }) => share >= -1e-9 && share <= 1 + 1e-9)
}

/**
 * Powers of ten, or twos and fives where there are too few of them.
 *
 * @param {Scale} scale
 * @param {number} wanted
 */
function powers({ low, high }, wanted) {
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))]
  /** @param {number[]} factors */
  const within = (factors) =>
    Array.from({ length: to - from + 1 }, (_, i) =>
      factors.map((one) => Number((one * 10 ** (from + i)).toPrecision(6))),
    )
      .flat()
      .filter((one) => one >= low * (1 - 1e-9) && one <= high * (1 + 1e-9))
  const tens = within([1])
  if (tens.length < 2) return within([1, 2, 5])
  const every = Math.max(1, Math.ceil(tens.length / Math.max(1, wanted)))
  return tens.filter((_, i) => i % every === 0)
}

/**
 * A scale with some room beyond its ends, where its points would lie on the frame.
 *
 * @param {Scale} scale
 * @param {number} room share of the scale
 * @returns {Scale}
 */
export function widened(scale, room) {
  if (scale.kind === 'word') return scale
  return { ...scale, low: valueAt(scale, -room), high: valueAt(scale, 1 + room) }
}
