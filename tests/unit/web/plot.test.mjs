import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  groupKeys,
  linearBelow,
  nearestIndex,
  padded,
  plot,
  positionOf,
  smoothedByDefault,
  stepsBetween,
  titleOf,
} from '../../../services/gateway/web/functions/plot.js'
import { addPoint, empty, widen } from '../../../services/gateway/web/functions/series.js'
import { sparkPath } from '../../../services/gateway/web/functions/sparkline.js'
import { spaceLimit, visibleRows } from '../../../services/gateway/web/functions/scrolling.js'

function series(values, { parent = 'a', from = 1, superseded = false } = {}) {
  const made = { ...empty(parent, 'train/loss'), superseded }
  values.forEach((value, i) => addPoint(made, from + i, value, (from + i) * 1000, 1))
  return made
}
const contexts = new Map([
  ['a', { origin: 0, perEpoch: 10, colour: 0 }],
  ['b', { origin: 0, perEpoch: 10, colour: 1 }],
])
const options = { axis: 'step', scale: 'linear', weight: 0, contexts }

test('one line is drawn as it is; NaN is a gap and a marker', () => {
  const { data, traces, odd } = plot([series([3, NaN, 1])], options)
  assert.deepEqual(data[0], [1, 2, 3])
  assert.deepEqual(data[traces[0].first + 2], [3, null, 1])
  assert.deepEqual(
    odd.map(({ x, kind }) => [x, kind]),
    [[2, 'nan']],
  )
})

test('outliers are kept', () => {
  const { data, traces } = plot([series([1, 1e30, 1])], options)
  assert.deepEqual(data[traces[0].first + 2], [1, 1e30, 1])
})

test('lines of several trials share one axis; where one has no point is no gap', () => {
  const { data, traces } = plot([series([1, 2], { from: 1 }), series([5, 6], { parent: 'b', from: 2 })], options)
  assert.deepEqual([...data[0]], [1, 2, 3])
  assert.deepEqual([...data[traces[0].first + 2]], [1, 2, undefined])
  assert.deepEqual([...data[traces[1].first + 2]], [undefined, 5, 6])
})

test('what branches have in common is drawn once, and each its own', () => {
  const branch = (parent, own) => ({ ...series([5, 4, 3, ...own], { parent }), branchStep: 3 })
  const { data, traces } = plot([branch('a', [2, 1]), branch('b', [7])], options)
  assert.deepEqual(
    traces.map((trace) => [trace.trunk, trace.series.parent, [...trace.xs]]),
    [
      [true, 'a', [1, 2, 3]],
      [false, 'a', [4, 5]],
      [false, 'b', [4]],
    ],
  )
  assert.deepEqual([...data[traces[0].first]], [5, 4, 3, undefined, undefined])
  const byTime = plot([branch('a', [2, 1])], { ...options, axis: 'time' })
  assert.deepEqual(
    byTime.traces.map((trace) => trace.trunk),
    [false],
    'a trunk has no place on the time of the branch',
  )
})

test('an abandoned tail is one line, drawn first', () => {
  const { traces } = plot([series([1]), series([2], { superseded: true })], options)
  assert.deepEqual(
    traces.map((trace) => [trace.superseded, trace.first]),
    [
      [true, 1],
      [false, 2],
    ],
  )
})

test('a logarithmic scale shows what has a logarithm', () => {
  const { data, traces } = plot([series([1, 0, -1, 10])], { ...options, scale: 'log' })
  assert.deepEqual(data[traces[0].first + 2], [1, null, null, 10])
})

test('buckets have a band from min to max', () => {
  const wide = widen(series(Array.from({ length: 64 }, (_, i) => i)), 8)
  const { data, traces } = plot([wide], options)
  assert.equal(data[traces[0].first][1], 30)
  assert.equal(data[traces[0].first + 1][1], 15)
})

test('titles and groups', () => {
  assert.equal(titleOf('train/grad_norm'), 'Gradient norm')
  assert.equal(titleOf('system/cpu_percent'), 'CPU')
  assert.ok(
    smoothedByDefault('train/loss') && !smoothedByDefault('eval/loss') && !smoothedByDefault('train/learning_rate'),
  )
  const groups = groupKeys(['system/cpu', 'train/loss', 'train/extra', 'eval/loss', 'own'], ['train/loss'])
  assert.deepEqual(
    groups.map((group) => [group.name, group.keys]),
    [
      ['Evaluation', ['eval/loss']],
      ['Other', ['own']],
      ['Training', ['train/extra']],
      ['System', ['system/cpu']],
    ],
  )
})

test('numbers in keys are in the order of numbers', () => {
  const [{ keys }] = groupKeys(['layer/h.10', 'layer/h.2', 'layer/h.1'], [])
  assert.deepEqual(keys, ['layer/h.1', 'layer/h.2', 'layer/h.10'])
})

test('axes have room, also around a single value', () => {
  assert.deepEqual(padded(5, 5, 'linear'), [4.5, 5.5])
  assert.deepEqual(padded(null, null, 'linear'), [0, 1])
  assert.deepEqual(padded(0, 0, 'linear'), [-0.06, 1], 'no tick below zero for what is always zero')
  const [low, high] = padded(1, 100, 'log')
  assert.ok(low > 0 && low < 1 && high > 100)
  assert.equal(linearBelow([series([200, -3])]), 0.1)
})

test('a range of an axis is a range of steps, and back', () => {
  const { traces } = plot([series([1, 1, 1, 1])], { ...options, axis: 'time' })
  assert.deepEqual(stepsBetween(traces, 1.5, 3.5, 'time'), { from: 2, to: 3 })
  assert.equal(stepsBetween(traces, 90, 91, 'time'), null)
  assert.deepEqual(stepsBetween(traces, 1.2, 8.9, 'step'), { from: 2, to: 8 })
  assert.equal(positionOf(traces, 3, 'time'), 3)
  assert.equal(nearestIndex([1, 5, 9], 6.9), 1)
})

test('a sparkline has gaps where a value is not finite', () => {
  assert.equal(sparkPath([0, 1, NaN, 0, 1], 40, 10), 'M0.0 10.0L10.0 0.0M30.0 10.0L40.0 0.0')
  assert.equal(sparkPath([1], 40, 10), '')
})

test('any row of a list of a million can be reached and is drawn where it belongs', () => {
  const list = { total: 1_000_000, rowHeight: 22, height: 500 }
  const { space, scrollTo } = visibleRows({ ...list, top: 0 })
  assert.equal(space, spaceLimit)
  for (const row of [0, 1, 499_999, 999_960]) {
    const top = scrollTo(row)
    const { first, last, offset } = visibleRows({ ...list, top })
    assert.ok(first <= row && row < last, `row ${row}`)
    assert.ok(Math.abs(offset + (row - first) * 22 - top) < 1, `row ${row} stands at the top`)
  }
  const end = visibleRows({ ...list, top: space })
  assert.equal(end.last, 1_000_000)
  assert.ok(Math.abs(end.offset + (1_000_000 - end.first) * 22 - space) < 1)
})

test('a short list is drawn one to one', () => {
  const rows = visibleRows({ total: 100, rowHeight: 22, top: 1000, height: 400 })
  assert.equal(rows.space, 2200)
  assert.equal(rows.offset, rows.first * 22)
})
