// @ts-check
// Many trials over several scales at once: each a line, those within the brushes shown. Pure.
import { scalar } from './configuration.js'
import { valueIn, valueOf } from './search.js'
import { searchedNames } from './searched.js'
import { scaleOf, shareOf, textAt } from './scales.js'
import { number } from './wire.js'

/** @import { Scale } from './scales.js' */
/** @typedef {{ trial: Api.Trial, value: number | undefined, places: (number | undefined)[] }} Row */
/** @typedef {Map<string, [number, number]>} Brushes */

// Lines of one colour are drawn at once.
export const shadeCount = 12

/**
 * What a trial came to; of one that was pruned its value at its last rung.
 *
 * @param {Api.Trial} trial
 * @param {Map<number, number>} atLastRung by number of the trial
 */
export function cameTo(trial, atLastRung) {
  const pruned = trial.suggestion?.outcome === 'PRUNED'
  return pruned ? atLastRung.get(trial.trial) : valueOf(trial)
}

/**
 * The value of each trial at the last rung that it reached.
 *
 * @param {Api.Rung[]} rungs in the order in which they were judged
 */
export function lastRungs(rungs) {
  return new Map(rungs.map((one) => [one.trial, number(one.value) ?? NaN]))
}

/**
 * A scale for each parameter that was searched, and one for each value; and where each trial is on them.
 *
 * @param {Api.Trial[]} trials
 * @param {string[]} metrics the first one is that of `value`
 * @param {{ space?: Record<string, unknown>, rungs?: Map<number, number>, order?: string[] }} [more] `order`: names of
 *   parameters, the most important ones first
 * @returns {{ scales: Scale[], rows: Row[] }}
 */
export function parallel(trials, metrics, { space = {}, rungs = new Map(), order = [] } = {}) {
  const names = searchedNames(trials)
  const ranks = new Map(order.map((name, i) => [name, i]))
  names.sort((a, b) => (ranks.get(a) ?? names.length) - (ranks.get(b) ?? names.length))
  const values = trials.map((trial) => cameTo(trial, rungs))
  const columns = names.map((name) => trials.map((trial) => read(trial.searched_parameters?.[name])))
  const ends = metrics.map((metric, i) => (i === 0 ? values : trials.map((trial) => valueIn(trial, metric))))
  const scales = [
    ...names.map((name, i) => scaleOf(name, columns[i], { log: isLog(space[name]) })),
    ...metrics.map((metric, i) => scaleOf(metric, ends[i])),
  ]
  const rows = trials.map((trial, at) => ({
    trial,
    value: values[at],
    places: [...columns, ...ends].map((column, i) => shareOf(scales[i], column[at])),
  }))
  return { scales, rows }
}

/** @param {string | undefined} text */
function read(text) {
  const value = text === undefined ? undefined : scalar(text)
  return typeof value === 'object' ? String(value) : value
}

/** @param {unknown} dimension as the configuration has it */
function isLog(dimension) {
  if (typeof dimension !== 'object' || dimension === null || Array.isArray(dimension)) return undefined
  return 'log_scale' in dimension ? Boolean(dimension.log_scale) : undefined
}

/**
 * Whether a row lies within all brushes. Without a place on a brushed scale it does not.
 *
 * @param {Row} row
 * @param {Scale[]} scales
 * @param {Brushes} brushes
 */
export function admits({ places }, scales, brushes) {
  return scales.every(({ name }, i) => {
    const brush = brushes.get(name)
    if (!brush) return true
    const at = places[i]
    return at !== undefined && at >= brush[0] - 1e-9 && at <= brush[1] + 1e-9
  })
}

/**
 * A shade for each row, 0 the best, by its rank among those that have a value: one that is far off takes no colours
 * from the others. -1: it has no value.
 *
 * @param {Row[]} rows
 * @param {string} mode
 */
export function shades(rows, mode) {
  const sign = mode === 'MAX' ? -1 : 1
  const ranked = rows
    .map(({ value }, i) => ({ i, value }))
    .filter((one) => Number.isFinite(one.value))
    .sort((a, b) => sign * (Number(a.value) - Number(b.value)))
  const found = new Int8Array(rows.length).fill(-1)
  ranked.forEach(({ i }, rank) => (found[i] = Math.floor((rank / ranked.length) * shadeCount)))
  return found
}

/**
 * The row whose line passes nearest to a point, -1: none within reach. A scale that a row has no place on is skipped.
 *
 * @param {Row[]} rows
 * @param {{ x: number, y: number, reach: number }} at
 * @param {(i: number) => number} xOf of the scale
 * @param {(share: number) => number} yOf
 */
export function nearestRow(rows, { x, y, reach }, xOf, yOf) {
  let [found, least] = [-1, reach]
  rows.forEach(({ places }, row) => {
    for (let i = 0; i + 1 < places.length; i++) {
      const [from, to] = [places[i], places[i + 1]]
      if (from === undefined || to === undefined || x < xOf(i) || x > xOf(i + 1)) continue
      const share = (x - xOf(i)) / (xOf(i + 1) - xOf(i))
      const distance = Math.abs(y - (yOf(from) + share * (yOf(to) - yOf(from))))
      if (distance < least) [found, least] = [row, distance]
    }
  })
  return found
}

/**
 * A brush as one reads it.
 *
 * @param {Scale} scale
 * @param {[number, number]} brush
 */
export function brushText(scale, [low, high]) {
  const [from, to] = [textAt(scale, low), textAt(scale, high)]
  return from === to ? from : `${from} to ${to}`
}

/**
 * Brushes as a parameter of the address: `learning_rate:0.1:0.4,layers:0:0.5`.
 *
 * @param {Brushes} brushes
 */
export function brushesToText(brushes) {
  return [...brushes].map(([name, ends]) => [encodeURIComponent(name), ...ends.map(short)].join(':')).join(',')
}

/** @param {number} share */
function short(share) {
  return String(Number(share.toFixed(3)))
}

/**
 * @param {string} text
 * @returns {Brushes}
 */
export function brushesFromText(text) {
  /** @type {Brushes} */
  const brushes = new Map()
  for (const part of text.split(',').filter(Boolean)) {
    const [name, low, high] = part.split(':')
    const [from, to] = [Number(low), Number(high)]
    if (name && from >= 0 && to <= 1 && from <= to) brushes.set(decodeURIComponent(name), [from, to])
  }
  return brushes
}

/**
 * Those of some points that no other is better than in both: the front, by the first.
 *
 * @template {{ x: number, y: number }} Point
 * @param {Point[]} points
 * @param {{ x: 'MIN' | 'MAX', y: 'MIN' | 'MAX' }} modes
 * @returns {Point[]}
 */
export function front(points, modes) {
  const [across, up] = [modes.x === 'MAX' ? -1 : 1, modes.y === 'MAX' ? -1 : 1]
  const sorted = [...points].sort((a, b) => across * (a.x - b.x) || up * (a.y - b.y))
  let least = Infinity
  return sorted.filter(({ y }) => {
    if (up * y >= least) return false
    least = up * y
    return true
  })
}

/**
 * The best value so far, after each trial that has one, in the order in which they came.
 *
 * @param {{ x: number, y: number }[]} points by x
 * @param {string} mode
 */
export function bestSoFar(points, mode) {
  let best = mode === 'MAX' ? -Infinity : Infinity
  return points.map(({ x, y }) => {
    best = mode === 'MAX' ? Math.max(best, y) : Math.min(best, y)
    return { x, y: best }
  })
}
