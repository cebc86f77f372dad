// @ts-check
// Columns of one series as a chart holds them: buckets that are aligned to powers of two, so that live points fold
// into the same buckets the server would answer with.
import { column } from './wire.js'

/** @typedef {'step' | 'time' | 'wall' | 'epoch' | 'tokens'} Axis */
/**
 * @typedef {'firstSteps' | 'lastSteps' | 'mins' | 'maxs' | 'means' | 'lasts' | 'counts' | 'nans' | 'positives' |
 * 'negatives' | 'times' | 'attempts'} ColumnName
 */
/**
 * @typedef {{ parent: string, key: string, attempt: number, superseded: boolean, raw: boolean, width: number,
 * branchStep: number } & Record<ColumnName, number[]>} Series
 */
/** @typedef {Pick<Api.SeriesData, 'parent' | 'key'> & Partial<Api.SeriesData>} SeriesMessage */
/** @typedef {{ step: number, index: number, kind: 'nan' | 'positive' | 'negative', count: number }} Odd */

/**
 * Columns of a `SeriesData` message.
 *
 * @param {SeriesMessage} message
 * @returns {Series}
 */
export function decode(message) {
  const length = (message.first_steps ?? []).length
  const zeros = () => new Array(length).fill(0)
  /**
   * @param {'counts' | 'nan_counts' | 'positive_infinity_counts' | 'negative_infinity_counts' | 'last_times_ms' |
   * 'attempts'} name
   */
  const counted = (name) => (message[name]?.length ? message[name].slice() : zeros())
  return {
    parent: message.parent,
    key: message.key,
    attempt: message.attempt ?? 0,
    superseded: Boolean(message.superseded),
    raw: Boolean(message.raw),
    width: message.bucket_width || 1,
    branchStep: message.branch_step ?? 0,
    firstSteps: (message.first_steps ?? []).slice(),
    lastSteps: (message.last_steps ?? []).slice(),
    mins: column(message, 'mins').slice(),
    maxs: column(message, 'maxs').slice(),
    means: column(message, 'means').slice(),
    lasts: column(message, 'lasts').slice(),
    counts: counted('counts'),
    nans: counted('nan_counts'),
    positives: counted('positive_infinity_counts'),
    negatives: counted('negative_infinity_counts'),
    times: counted('last_times_ms'),
    attempts: counted('attempts'),
  }
}

/** @type {ColumnName[]} */
// prettier-ignore
const columns = [
  'firstSteps', 'lastSteps', 'mins', 'maxs', 'means', 'lasts',
  'counts', 'nans', 'positives', 'negatives', 'times', 'attempts',
]

/**
 * A series taken apart where its branch began: what its ancestors did, and what it did itself. A bucket over both is
 * its own.
 *
 * @param {Series} series
 * @returns {{ trunk: Series, own: Series }}
 */
export function apart(series) {
  const after = series.lastSteps.findIndex((step) => step > series.branchStep)
  const at = after === -1 ? series.lastSteps.length : after
  const trunk = { ...series }
  const own = { ...series }
  for (const name of columns) {
    trunk[name] = series[name].slice(0, at)
    own[name] = series[name].slice(at)
  }
  return { trunk, own }
}

/**
 * A series without points yet.
 *
 * @param {string} parent
 * @param {string} key
 */
export function empty(parent, key) {
  return decode({ parent, key, raw: true, bucket_width: 1 })
}

const merged = {
  min: (/** @type {number} */ a, /** @type {number} */ b) =>
    Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.min(a, b),
  max: (/** @type {number} */ a, /** @type {number} */ b) =>
    Number.isNaN(a) ? b : Number.isNaN(b) ? a : Math.max(a, b),
}

/**
 * @param {Series} series
 * @param {number} i
 */
function finiteCount(series, i) {
  return series.counts[i] - series.nans[i] - series.positives[i] - series.negatives[i]
}

/**
 * Whether a point belongs before the last one of a series: its step, or at the same step its time, is earlier.
 *
 * @param {Series} series
 * @param {number} step
 * @param {number} time
 */
export function isLate(series, step, time) {
  const last = series.lastSteps.length - 1
  return last >= 0 && (step < series.lastSteps[last] || (step === series.lastSteps[last] && time < series.times[last]))
}

/**
 * Fold one point into the last bucket, or begin a new one. It must not be late. Changes `series`.
 *
 * @param {Series} series
 * @param {number} step
 * @param {number} value
 * @param {number} time
 * @param {number} attempt
 */
export function addPoint(series, step, value, time, attempt) {
  const last = series.firstSteps.length - 1
  const isFinite = Number.isFinite(value)
  const sameBucket =
    last >= 0 && !series.raw && Math.floor(series.lastSteps[last] / series.width) === Math.floor(step / series.width)
  if (!sameBucket) {
    series.firstSteps.push(step)
    series.lastSteps.push(step)
    series.mins.push(isFinite ? value : NaN)
    series.maxs.push(isFinite ? value : NaN)
    series.means.push(isFinite ? value : NaN)
    series.lasts.push(value)
    series.counts.push(1)
    series.nans.push(Number.isNaN(value) ? 1 : 0)
    series.positives.push(value === Infinity ? 1 : 0)
    series.negatives.push(value === -Infinity ? 1 : 0)
    series.times.push(time)
    series.attempts.push(attempt)
    return
  }
  if (isFinite) {
    const before = finiteCount(series, last)
    series.mins[last] = merged.min(series.mins[last], value)
    series.maxs[last] = merged.max(series.maxs[last], value)
    series.means[last] = before === 0 ? value : series.means[last] + (value - series.means[last]) / (before + 1)
  }
  series.counts[last] += 1
  if (Number.isNaN(value)) series.nans[last] += 1
  if (value === Infinity) series.positives[last] += 1
  if (value === -Infinity) series.negatives[last] += 1
  series.lasts[last] = value
  series.lastSteps[last] = step
  series.times[last] = time
  series.attempts[last] = attempt
}

/**
 * The width that the server would choose for a range of steps: the least power of two that needs no more than `limit`
 * buckets.
 *
 * @param {number} first
 * @param {number} last
 * @param {number} limit
 */
export function bucketWidth(first, last, limit) {
  let width = 1
  while (Math.floor(last / width) - Math.floor(first / width) + 1 > limit) width *= 2
  return width
}

/**
 * Make the buckets of a series that has more than `limit` of them wider. Returns a new series, or the same one.
 *
 * @param {Series} series
 * @param {number} limit
 */
export function widen(series, limit) {
  if (series.firstSteps.length <= limit) return series
  const wanted = bucketWidth(series.firstSteps[0], series.lastSteps[series.lastSteps.length - 1], limit)
  // As many values at one step are one bucket, as the server has it.
  let current = series.raw ? atWidth(series, series.width) : series
  while (current.width < wanted) current = atWidth(current, current.width * 2)
  return current
}

/**
 * @param {Series} series
 * @param {number} width
 */
function atWidth(series, width) {
  const wide = {
    ...empty(series.parent, series.key),
    attempt: series.attempt,
    superseded: series.superseded,
    raw: false,
    width,
  }
  for (let i = 0; i < series.firstSteps.length; i += 1) {
    const last = wide.firstSteps.length - 1
    if (last >= 0 && Math.floor(wide.firstSteps[last] / width) === Math.floor(series.firstSteps[i] / width))
      mergeInto(wide, last, series, i)
    else copyBucket(wide, series, i)
  }
  return wide
}

/** @type {ColumnName[]} */
const summedNames = ['counts', 'nans', 'positives', 'negatives']
/** @type {ColumnName[]} */
const newestNames = ['lasts', 'lastSteps', 'times', 'attempts']
/** @type {ColumnName[]} */
const columnNames = [
  'firstSteps',
  'lastSteps',
  'mins',
  'maxs',
  'means',
  'lasts',
  'counts',
  'nans',
  'positives',
  'negatives',
  'times',
  'attempts',
]

/**
 * @param {Series} wide
 * @param {Series} series
 * @param {number} i
 */
function copyBucket(wide, series, i) {
  for (const name of columnNames) wide[name].push(series[name][i])
}

/**
 * @param {Series} wide
 * @param {number} last
 * @param {Series} series
 * @param {number} i
 */
function mergeInto(wide, last, series, i) {
  const before = finiteCount(wide, last)
  const more = finiteCount(series, i)
  wide.mins[last] = merged.min(wide.mins[last], series.mins[i])
  wide.maxs[last] = merged.max(wide.maxs[last], series.maxs[i])
  if (before === 0) wide.means[last] = series.means[i]
  else if (more > 0) wide.means[last] = (wide.means[last] * before + series.means[i] * more) / (before + more)
  for (const name of summedNames) wide[name][last] += series[name][i]
  for (const name of newestNames) wide[name][last] = series[name][i]
}

/**
 * What attempts before `attempt` did after `step` away: it went on from there. Returns a new series, or the same one.
 *
 * @param {Series} series
 * @param {number} step
 * @param {number} attempt
 */
export function cutAfter(series, step, attempt) {
  let keep = series.lastSteps.length
  while (keep > 0 && series.lastSteps[keep - 1] > step && series.attempts[keep - 1] < attempt) keep -= 1
  if (keep === series.lastSteps.length) return series
  const cut = { ...series }
  for (const name of columnNames) cut[name] = series[name].slice(0, keep)
  return cut
}

/**
 * The last index with the value that `values`, which are in order, have at `index`: of several values of a step the
 * newest.
 *
 * @param {ArrayLike<number>} values
 * @param {number} index
 */
export function lastOfEqual(values, index) {
  let last = index
  while (last + 1 < values.length && values[last + 1] === values[index]) last += 1
  return last
}

/**
 * Index of the bucket whose last step is nearest to `step`; -1 if there is none.
 *
 * @param {Series} series
 * @param {number} step
 */
export function nearest(series, step) {
  const steps = series.lastSteps
  if (steps.length === 0) return -1
  let low = 0
  let high = steps.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if (steps[middle] < step) low = middle + 1
    else high = middle
  }
  return lastOfEqual(steps, low > 0 && step - steps[low - 1] <= steps[low] - step ? low - 1 : low)
}

/**
 * Values against what: one number per bucket. `origin` is ms since 1970 of the first point, `perEpoch` steps,
 * `tokens` the series of the tokens that were read.
 *
 * @param {Series} series
 * @param {Axis} axis
 * @param {{ origin?: number, perEpoch?: number, tokens?: Series }} [parts]
 */
export function positions(series, axis, { origin = 0, perEpoch = 0, tokens } = {}) {
  if (axis === 'time') return series.times.map((time) => (time - origin) / 1000)
  if (axis === 'wall') return series.times.map((time) => time / 1000)
  if (axis === 'epoch' && perEpoch > 0) return series.lastSteps.map((step) => step / perEpoch)
  if (axis === 'tokens' && tokens?.lastSteps.length) return series.lastSteps.map((step) => valueAt(tokens, step))
  return series.lastSteps
}

/**
 * The value of a series that only grows, at any step: between two points on the line through them, before the first one
 * on that from nothing, behind the last one as if it went on like that.
 *
 * @param {Series} series
 * @param {number} step
 */
export function valueAt({ lastSteps, lasts }, step) {
  let low = 0
  let high = lastSteps.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if (lastSteps[middle] < step) low = middle + 1
    else high = middle
  }
  const [begin, end] = [low > 0 ? lastSteps[low - 1] : 0, lastSteps[low]]
  const [from, to] = [low > 0 ? lasts[low - 1] : 0, lasts[low]]
  return end === begin ? to : from + ((to - from) * (step - begin)) / (end - begin)
}

/**
 * Points that are not finite: [{step, index, kind}], kind one of nan, positive, negative.
 *
 * @param {Series} series
 * @returns {Odd[]}
 */
export function nonFinite(series) {
  /** @type {Odd[]} */
  const found = []
  for (let i = 0; i < series.counts.length; i += 1) {
    if (series.nans[i]) found.push({ step: series.lastSteps[i], index: i, kind: 'nan', count: series.nans[i] })
    if (series.positives[i])
      found.push({ step: series.lastSteps[i], index: i, kind: 'positive', count: series.positives[i] })
    if (series.negatives[i])
      found.push({ step: series.lastSteps[i], index: i, kind: 'negative', count: series.negatives[i] })
  }
  return found
}
