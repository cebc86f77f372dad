import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  detectorOf,
  firstBound,
  foundIn,
  idOf,
  rounded,
  selectorOf,
  spread,
  summaryOf,
  ticks,
  verdictOf,
} from '../../../services/gateway/web/functions/trying.js'

const draft = {
  ...{ kind: 'threshold', series: 'train/loss', comparison: 'ABOVE', value: '5' },
  ...{ window: '50', deviations: '8', direction: 'UP' },
}

test('a draft is sent as the detector that it is, and what is no number as it was typed', () => {
  assert.deepEqual(detectorOf(draft), { threshold: { series: 'train/loss', comparison: 'ABOVE', value: 5 } })
  assert.equal(detectorOf({ ...draft, value: 'five' }).threshold.value, 'five')
  assert.deepEqual(detectorOf({ ...draft, kind: 'change', direction: '' }), {
    change: { series: 'train/loss', window: 50, deviations: 8, direction: null },
  })
  assert.equal(idOf(draft), 'train-loss-above')
  assert.equal(idOf({ ...draft, kind: 'change', series: '/Ω x' }), 'x-jumps-up')
  assert.equal(selectorOf('a "b"'), 'name="a \\"b\\""')
  assert.equal(selectorOf(''), '')
})

test('a bound begins inside the range of the values', () => {
  assert.equal(firstBound([0, NaN, 10], 'ABOVE'), 8.5)
  assert.equal(firstBound([0, 10], 'BELOW'), 1.5)
  assert.equal(firstBound([NaN], 'ABOVE'), 0)
  assert.equal(rounded(0.00123456, 0.001), 0.001235)
})

test('what is far is told by the median and the deviation before it, which a spike does not move', () => {
  const values = [1, 2, 3, 1, 2, 3, 1, 2, 100, 2]
  const { middle, allowed } = spread(values, { window: 8, deviations: 8, direction: 'UP' })
  assert.ok(middle.slice(0, 8).every(Number.isNaN))
  assert.equal(middle[8], 2)
  assert.equal(middle[9], 2)
  assert.ok(Math.abs(allowed[8] - 1.4826) < 1e-9)
  // A new level is taken over once it has lasted as long as the window.
  const level = [...values.slice(0, 8), ...Array(20).fill(50)]
  assert.equal(spread(level, { window: 8, deviations: 8, direction: 'UP' }).middle.at(-1), 50)
})

test('axes have round numbers', () => {
  assert.deepEqual(ticks(0, 10, 5), [0, 2, 4, 6, 8, 10])
  assert.deepEqual(ticks(0.1, 0.31, 4), [0.1, 0.2, 0.3])
  assert.deepEqual(ticks(5, 5, 4), [5])
})

test('what came of a test is said in words', () => {
  const fired = [{ step: 1200 }, { step: 1300 }]
  assert.equal(foundIn([]), 'It would not have fired in this run.')
  assert.equal(foundIn(fired), 'It would have fired 2 times in this run, first at step 1,200.')
  assert.match(foundIn(fired, 2), /2 times in this run, as often as it may, first/)
  const word = (run) => verdictOf({ firings: fired, failed: false, lead_seconds: null, ...run }).word
  assert.equal(word({ failed: true, lead_seconds: 60 }), 'foreseen')
  assert.equal(word({ failed: true, firings: [] }), 'missed')
  assert.equal(word({}), 'false alarm')
  assert.equal(word({ firings: [] }), 'silent')
  const summary = { run_count: 5, fired_run_count: 2, firing_count: 3, failed_run_count: 2, truncated: true }
  assert.equal(
    summaryOf({ ...summary, foreseen_count: 1, missed_count: 1, false_alarm_count: 1, median_lead_seconds: 90 }),
    'Fired 3 times in 2 of 5 runs (there are more). Foresaw 1 of 2 failed runs, 1 m 30 s before the failure in the ' +
      'median, missed 1; 1 false alarm.',
  )
})
