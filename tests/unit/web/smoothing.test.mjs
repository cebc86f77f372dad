import assert from 'node:assert/strict'
import { test } from 'node:test'
import { smooth, typicalSpacing } from '../../../services/gateway/web/functions/smoothing.js'

const steps = (n, by = 1) => Array.from({ length: n }, (_, i) => (i + 1) * by)

test('a constant stays constant, exactly', () => {
  for (const constant of [0.1, -3.7e-9, 12345.678]) {
    assert.deepEqual(smooth(steps(500), new Array(500).fill(constant), 0.97), new Array(500).fill(constant))
  }
})

test('the start is not pulled to zero', () => {
  assert.deepEqual(smooth([1], [7], 0.9), [7])
  const [first, second] = smooth([1, 2], [10, 20], 0.5)
  assert.equal(first, 10)
  // Weights 0.25 and 0.5: (10 * 0.25 + 20 * 0.5) / 0.75.
  assert.ok(Math.abs(second - 50 / 3) < 1e-12)
})

test('no weight changes nothing', () => {
  assert.deepEqual(smooth(steps(3), [3, 1, 2], 0), [3, 1, 2])
})

test('twice the distance forgets twice', () => {
  const near = smooth([0, 1, 2, 3], [0, 0, 0, 1], 0.8, 1).at(-1)
  const far = smooth([0, 1, 2, 4], [0, 0, 0, 1], 0.8, 1).at(-1)
  assert.ok(far > near)
  // The scale of the axis does not matter.
  assert.deepEqual(smooth(steps(50), steps(50), 0.6), smooth(steps(50, 8), steps(50), 0.6))
})

test('what is not finite is passed over and comes back as it is', () => {
  const [, nan, after] = smooth([1, 2, 3], [5, NaN, 5], 0.9)
  assert.ok(Number.isNaN(nan))
  assert.equal(after, 5)
  assert.deepEqual(smooth([1, 2], [null, 3], 0.9), [null, 3])
})

test('the smoothed line lies within the values', () => {
  const values = steps(300).map((x) => Math.sin(x) * 5)
  for (const value of smooth(steps(300), values, 0.9)) assert.ok(value >= -5 && value <= 5)
})

test('the usual distance of points is their median', () => {
  assert.equal(typicalSpacing([1, 2, 3, 100]), 1)
  assert.equal(typicalSpacing([5]), 1)
})
