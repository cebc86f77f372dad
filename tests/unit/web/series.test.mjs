import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  addPoint,
  bucketWidth,
  cutAfter,
  decode,
  empty,
  nearest,
  nonFinite,
  positions,
  valueAt,
  widen,
} from '../../../services/gateway/web/functions/series.js'

const message = {
  parent: 'runtimes/rt-1/trials/1',
  key: 'train/loss',
  attempt: 0,
  superseded: false,
  raw: false,
  bucket_width: 4,
  first_steps: [1, 4],
  last_steps: [3, 7],
  mins: [0.5, null],
  mins_non_finite: [[1, 'NaN']],
  maxs: [2, null],
  maxs_non_finite: [[1, 'NaN']],
  means: [1, null],
  means_non_finite: [[1, 'NaN']],
  lasts: [2, null],
  lasts_non_finite: [[1, 'NaN']],
  counts: [3, 4],
  nan_counts: [0, 4],
  positive_infinity_counts: [],
  negative_infinity_counts: [],
  last_times_ms: [30, 70],
  attempts: [1, 1],
}

function live(values, from = 1) {
  const series = empty('p', 'k')
  values.forEach((value, i) => addPoint(series, from + i, value, (from + i) * 10, 1))
  return series
}

/** What the server answers for the same points: buckets of `width`, straight from the definition. */
function buckets(values, width, from = 1) {
  const found = new Map()
  values.forEach((value, i) => {
    const step = from + i
    const number = Math.floor(step / width)
    if (!found.has(number)) found.set(number, [])
    found.get(number).push([step, value])
  })
  return [...found.values()].map((points) => {
    const finite = points.map(([, value]) => value).filter(Number.isFinite)
    return {
      first: points[0][0],
      last: points.at(-1)[0],
      value: points.at(-1)[1],
      count: points.length,
      min: finite.length ? Math.min(...finite) : NaN,
      max: finite.length ? Math.max(...finite) : NaN,
      mean: finite.length ? finite.reduce((a, b) => a + b) / finite.length : NaN,
      nans: points.filter(([, value]) => Number.isNaN(value)).length,
    }
  })
}

function assertSame(series, wanted) {
  assert.deepEqual(
    series.firstSteps,
    wanted.map((one) => one.first),
  )
  assert.deepEqual(
    series.lastSteps,
    wanted.map((one) => one.last),
  )
  assert.deepEqual(
    series.lasts,
    wanted.map((one) => one.value),
  )
  assert.deepEqual(
    series.counts,
    wanted.map((one) => one.count),
  )
  assert.deepEqual(
    series.mins,
    wanted.map((one) => one.min),
  )
  assert.deepEqual(
    series.maxs,
    wanted.map((one) => one.max),
  )
  assert.deepEqual(
    series.nans,
    wanted.map((one) => one.nans),
  )
  series.means.forEach((mean, i) =>
    assert.ok(Number.isNaN(mean) ? Number.isNaN(wanted[i].mean) : Math.abs(mean - wanted[i].mean) < 1e-9),
  )
}

test('NaN of a message comes back to its place', () => {
  const series = decode(message)
  assert.ok(Number.isNaN(series.lasts[1]))
  assert.equal(series.lasts[0], 2)
  assert.deepEqual(nonFinite(series), [{ step: 7, index: 1, kind: 'nan', count: 4 }])
})

test('live points become raw points while there is room', () => {
  const series = live([3, 2, 1])
  assert.deepEqual(series.lastSteps, [1, 2, 3])
  assert.equal(widen(series, 3), series)
  assert.ok(series.raw)
})

test('buckets made of live points are those the server would make', () => {
  const values = Array.from({ length: 1000 }, (_, i) =>
    i % 97 === 5 ? NaN : i % 101 === 3 ? Infinity : Math.sin(i) * 10,
  )
  const series = widen(live(values), 100)
  assert.equal(series.width, bucketWidth(1, 1000, 100))
  assertSame(series, buckets(values, series.width))
})

test('points that go on after buckets fold into the last one', () => {
  const values = Array.from({ length: 777 }, (_, i) => Math.cos(i / 3))
  const series = widen(live(values.slice(0, 500)), 64)
  values.slice(500).forEach((value, i) => addPoint(series, 501 + i, value, 0, 1))
  assertSame(series, buckets(values, series.width))
})

test('a cut takes away what a later attempt does again', () => {
  const series = cutAfter(live([5, 4, 3, 2, 1]), 3, 2)
  assert.deepEqual(series.lastSteps, [1, 2, 3])
  assert.deepEqual(series.lasts, [5, 4, 3])
})

test('a cut that is known already takes nothing away', () => {
  const series = live([5, 4, 3])
  assert.equal(cutAfter(series, 0, 1), series)
})

test('the least power of two that fits is chosen', () => {
  assert.equal(bucketWidth(1, 1000, 1000), 1)
  assert.equal(bucketWidth(0, 1000, 1000), 2)
  assert.equal(bucketWidth(1, 10_000_000, 1000), 16384)
})

test('the nearest point is found', () => {
  const series = live([1, 1, 1, 1], 10)
  assert.equal(nearest(series, 0), 0)
  assert.equal(nearest(series, 11.4), 1)
  assert.equal(nearest(series, 99), 3)
  assert.equal(nearest(empty('p', 'k'), 1), -1)
})

test('a series is placed on each axis', () => {
  const series = live([1, 2], 4)
  assert.deepEqual(positions(series, 'step'), [4, 5])
  assert.deepEqual(positions(series, 'time', { origin: 20 }), [0.02, 0.03])
  assert.deepEqual(positions(series, 'wall'), [0.04, 0.05])
  assert.deepEqual(positions(series, 'epoch', { perEpoch: 4 }), [1, 1.25])
})

test('tokens at any step are on the line through those that were logged', () => {
  const tokens = empty('a', 'train/tokens')
  for (const [step, value] of [
    [10, 1000],
    [20, 1500],
  ])
    addPoint(tokens, step, value, step, 1)
  assert.deepEqual(
    [0, 5, 10, 15, 20, 30].map((step) => valueAt(tokens, step)),
    [0, 500, 1000, 1250, 1500, 2000],
  )
  const loss = empty('a', 'train/loss')
  addPoint(loss, 10, 1, 10, 1)
  addPoint(loss, 15, 1, 15, 1)
  assert.deepEqual(positions(loss, 'tokens', { tokens }), [1000, 1250])
  assert.deepEqual(positions(loss, 'tokens'), [10, 15], 'steps where no tokens were counted')
})
