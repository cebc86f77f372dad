// @ts-check
// From series to the aligned columns a chart draws. Pure.
import { knownSeries, rankOf } from './known.js'
import { spelled } from './names.js'
import { apart, lastOfEqual, nonFinite, positions } from './series.js'
import { smooth } from './smoothing.js'
import { withoutUnit } from './units.js'

/** @import { Axis, Odd, Series } from './series.js' */
/** @typedef {'linear' | 'log' | 'symlog'} Scale */
/** @typedef {{ from: number, to: number }} View */
/**
 * @typedef {{
 *   origin?: number,
 *   perEpoch?: number,
 *   tokens?: Series,
 *   colour?: number | string,
 *   name?: string,
 * }} Context
 */
/**
 * @typedef {{
 *   series: Series,
 *   xs: number[],
 *   colour: number | string,
 *   name?: string,
 *   superseded: boolean,
 *   trunk: boolean,
 *   first: number,
 *   smooth?: number[],
 * }} Trace
 */
/**
 * @typedef {{
 *   data: [number[] | Float64Array, ...(number | null | undefined)[][]],
 *   traces: Trace[],
 *   odd: (Odd & { x: number, superseded: boolean, colour: number | string })[],
 * }} Plot
 */

/** @typedef {(trace: Trace, values: (number | null)[]) => (number | null | undefined)[]} Place */

/** Columns of a trace, in this order. An abandoned tail has the line alone. */
export const lineageColumns = ['max', 'min', 'line', 'smooth']

/**
 * "train/grad_norm" -> "Gradient norm"; those that are not known by their last part.
 *
 * @param {string} key
 * @returns {string}
 */
export function titleOf(key) {
  const known = knownSeries(key)
  if (known) return known.title
  const shown = spelled(withoutUnit(key))
  const text = shown.split('/').slice(1).join(' / ').replaceAll('_', ' ') || shown
  const named = text.replace(/\b(cpu|gpu|ram|io|lr|kl|gb)\b/gi, (word) => word.toUpperCase())
  return named.charAt(0).toUpperCase() + named.slice(1)
}

/**
 * Whether a chart is smoothed unless one says otherwise: losses of training steps, which jump from batch to batch.
 *
 * @param {string} key
 */
export function smoothedByDefault(key) {
  return /(^|\/|_)loss$/.test(key) && !/^(eval|valid|validation|test)\//.test(key)
}

// "layer 2" before "layer 10".
const byNumber = new Intl.Collator('en', { numeric: true })

/** @type {(a: string, b: string) => number} */
const byRank = (a, b) => rankOf(a) - rankOf(b) || byNumber.compare(a, b)

/**
 * Fixed charts first, then evaluation, then by prefix, system last: [{name, keys}].
 *
 * @param {string[]} keys
 * @param {string[]} fixed
 */
export function groupKeys(keys, fixed) {
  /** @type {Map<string, string[]>} */
  const groups = new Map()
  for (const key of keys.filter((one) => !fixed.includes(one)).sort(byRank)) {
    const prefix = key.includes('/') ? key.split('/')[0] : 'other'
    groups.set(prefix, [...(groups.get(prefix) ?? []), key])
  }
  const ranks = new Map([
    ['eval', 0],
    ['system', 2],
  ])
  /** @param {string} prefix */
  const rank = (prefix) => ranks.get(prefix) ?? 1
  const names = new Map([
    ['eval', 'Evaluation'],
    ['train', 'Training'],
    ['system', 'System'],
  ])
  /** @param {string} prefix */
  const nameOf = (prefix) => names.get(prefix) ?? spelled(prefix.charAt(0).toUpperCase() + prefix.slice(1))
  return [...groups.entries()]
    .sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b))
    .map(([prefix, list]) => ({ prefix, name: nameOf(prefix), keys: list }))
}

/**
 * What to draw of `list` (decoded series).
 *
 * `contexts` maps a parent to {origin, perEpoch, colour, name}. Returns {data, traces, odd}: `data` is the columns for
 * uPlot, x first; a trace is {series, xs, colour, name, superseded, first} where `first` is its first column.
 *
 * @param {Series[]} list
 * @param {{ axis: Axis, scale: Scale, weight: number, contexts: Map<string, Context> }} parts
 * @returns {Plot}
 */
export function plot(list, { axis, scale, weight, contexts }) {
  const lines = list
    .filter((one) => !one.superseded)
    .map((one) => (one.branchStep ? apart(one) : { trunk: null, own: one }))
  // A trunk has no place on an axis of the branch's own time.
  const trunks = ['step', 'epoch', 'tokens'].includes(axis)
    ? distinct(lines.flatMap(({ trunk }) => (trunk ? [trunk] : [])))
    : []
  const ordered = [...list.filter((one) => one.superseded), ...trunks, ...lines.map(({ own }) => own)]
  const traces = ordered.map((series) => {
    const context = contexts.get(series.parent) ?? {}
    /** @type {Trace} */
    const trace = {
      series,
      xs: positions(series, axis, context),
      colour: context.colour ?? 0,
      name: context.name,
      superseded: series.superseded,
      trunk: trunks.includes(series),
      first: 0,
    }
    return trace
  })
  const xs = traces.length === 1 ? traces[0].xs : union(traces.map((trace) => trace.xs))
  const place = traces.length === 1 ? asTheyAre : aligner(xs)
  /** @type {Plot['data']} */
  const data = [xs]
  for (const trace of traces) {
    trace.first = data.length
    const columns =
      trace.superseded || trace.trunk ? [drawable(trace.series.lasts, scale)] : lineage(trace, scale, weight)
    for (const values of columns) data.push(place(trace, values))
  }
  const odd = traces.flatMap((trace) =>
    nonFinite(trace.series).map((one) => ({
      ...one,
      x: trace.xs[one.index],
      superseded: trace.superseded,
      colour: trace.colour,
    })),
  )
  return { data, traces, odd }
}

/**
 * What several branches have in common is drawn once.
 *
 * @param {Series[]} trunks
 */
function distinct(trunks) {
  /** @type {Map<string, Series>} */
  const seen = new Map()
  for (const one of trunks) {
    const name = [one.branchStep, one.lastSteps.length, one.lasts[0], one.lasts.at(-1)].join()
    if (one.lasts.length > 0 && !seen.has(name)) seen.set(name, one)
  }
  return [...seen.values()]
}

/**
 * @param {Trace} trace
 * @param {Scale} scale
 * @param {number} weight
 */
function lineage(trace, scale, weight) {
  const { series, xs } = trace
  const nothing = new Array(xs.length).fill(null)
  const banded = series.counts.some((count) => count > 1)
  trace.smooth = weight > 0 ? smooth(xs, series.lasts, weight) : undefined
  return [
    banded ? drawable(series.maxs, scale) : nothing,
    banded ? drawable(series.mins, scale) : nothing,
    drawable(series.lasts, scale),
    trace.smooth ? drawable(trace.smooth, scale) : nothing,
  ]
}

/**
 * What a scale can show; null is a gap.
 *
 * @param {number[]} values
 * @param {Scale} scale
 */
function drawable(values, scale) {
  return values.map((value) => (Number.isFinite(value) && (scale !== 'log' || value > 0) ? value : null))
}

/** @type {Place} */
const asTheyAre = (trace, values) => values

/** @param {Iterable<number>[]} lists */
function union(lists) {
  /** @type {Set<number>} */
  const all = new Set()
  for (const list of lists) for (const x of list) all.add(x)
  return Float64Array.from(all).sort()
}

/**
 * Values of a trace at all positions; undefined, which is no gap, where it has none.
 *
 * @param {number[] | Float64Array} xs
 * @returns {Place}
 */
function aligner(xs) {
  /** @type {Map<number, number>} */
  const index = new Map()
  xs.forEach((x, i) => index.set(x, i))
  /**
   * @param {Trace} trace
   * @param {(number | null)[]} values
   */
  return (trace, values) => {
    const aligned = new Array(xs.length)
    trace.xs.forEach((x, i) => {
      const at = index.get(x)
      if (at !== undefined) aligned[at] = values[i]
    })
    return aligned
  }
}

/**
 * Range of an axis with some room around it.
 *
 * @param {number | null} low
 * @param {number | null} high
 * @param {Scale} scale
 * @returns {[number, number]}
 */
export function padded(low, high, scale) {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high))
    return scale === 'log' ? [0.1, 10] : [0, 1]
  if (scale === 'log')
    return low === high ? [low / 2, high * 2] : [low / (high / low) ** 0.05, high * (high / low) ** 0.05]
  // Bytes, counts and rates are never below zero.
  if (low === 0 && high === 0) return [-0.06, 1]
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1
  return [low - room, high + room]
}

/**
 * A power of ten below which the symmetric logarithm is linear: a thousandth of the largest value.
 *
 * @param {Series[]} list
 */
export function linearBelow(list) {
  let largest = 0
  for (const series of list) {
    for (const values of [series.mins, series.maxs])
      for (const value of values) if (Math.abs(value) > largest) largest = Math.abs(value)
  }
  return largest > 0 ? 10 ** (Math.floor(Math.log10(largest)) - 3) : 1
}

/**
 * Index of the position nearest to `x`, the last one of equal positions; -1 without positions.
 *
 * @param {ArrayLike<number>} xs
 * @param {number} x
 */
export function nearestIndex(xs, x) {
  if (xs.length === 0) return -1
  let low = 0
  let high = xs.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if (xs[middle] < x) low = middle + 1
    else high = middle
  }
  return lastOfEqual(xs, low > 0 && x - xs[low - 1] <= xs[low] - x ? low - 1 : low)
}

/**
 * Steps that lie between two positions of the axis, over all lines: {from, to}.
 *
 * @param {Trace[]} traces
 * @param {number} low
 * @param {number} high
 * @param {Axis} axis
 * @returns {View | null}
 */
export function stepsBetween(traces, low, high, axis) {
  if (axis === 'step') return { from: Math.max(0, Math.ceil(low)), to: Math.max(1, Math.floor(high)) }
  let from = Infinity
  let to = -Infinity
  for (const { xs, series } of traces) {
    for (let i = 0; i < xs.length; i += 1) {
      if (xs[i] < low || xs[i] > high) continue
      from = Math.min(from, series.firstSteps[i])
      to = Math.max(to, series.lastSteps[i])
    }
  }
  return from <= to ? { from, to } : null
}

/**
 * Where a step is on the axis, by the line that comes nearest to it.
 *
 * @param {Trace[]} traces
 * @param {number} step
 * @param {Axis} axis
 */
export function positionOf(traces, step, axis) {
  if (axis === 'step') return step
  let best
  for (const { xs, series } of traces) {
    const i = nearestIndex(series.lastSteps, step)
    if (i === -1) continue
    const distance = Math.abs(series.lastSteps[i] - step)
    if (!best || distance < best.distance) best = { distance, x: xs[i] }
  }
  return best?.x
}
