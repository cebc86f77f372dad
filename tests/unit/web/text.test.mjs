import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as format from '../../../services/gateway/web/functions/format.js'
import { batchState } from '../../../services/gateway/web/functions/batch.js'
import { pieces, plain } from '../../../services/gateway/web/functions/ansi.js'
import { cut, matcher } from '../../../services/gateway/web/functions/highlight.js'
import { pythonQuery } from '../../../services/gateway/web/functions/python.js'
import { csv } from '../../../services/gateway/web/functions/csv.js'
import { empty, addPoint } from '../../../services/gateway/web/functions/series.js'

test('numbers are grouped, values keep five digits', () => {
  assert.equal(format.count(4120), '4,120')
  assert.equal(format.count(undefined), '–')
  assert.equal(format.value(0.0030000001), '0.003')
  assert.equal(format.value(2.345678), '2.3457')
  assert.equal(format.value(3e-5), '3e-5')
  assert.equal(format.value(1.5e9), '1.5e9')
  assert.equal(format.value(12345.678), '12,345.7')
  assert.equal(format.value(NaN), 'NaN')
  assert.equal(format.value(-Infinity), '−∞')
  assert.equal(format.value('Infinity'), '+∞')
  assert.equal(format.value(0), '0')
})

test('durations have at most two units', () => {
  assert.equal(format.duration(42), '42 s')
  assert.equal(format.duration(750), '12 m 30 s')
  assert.equal(format.duration(7500), '2 h 05 m')
  assert.equal(format.duration(3 * 86400 + 4 * 3600), '3 d 4 h')
  assert.equal(format.duration(null), '–')
  assert.equal(format.span(0.00085), '850 µs')
  assert.equal(format.span(0.0123), '12.3 ms')
})

test('a completion is floored, never rounded up to the end', () => {
  assert.equal(format.percent(41.29), '41.2 %')
  assert.equal(format.percent(99.99), '99.9 %')
  assert.equal(format.percent(100), '100 %')
  assert.equal(format.percent(0), '0 %')
  assert.equal(format.percent(null), '–')
})

test('times, sizes and names are words', () => {
  assert.equal(format.ago('2026-01-01T00:00:00Z', Date.parse('2026-01-01T00:05:10Z')), '5 m ago')
  assert.equal(format.bytes(48_123_456), '48.1 MB')
  assert.equal(format.bytes(999), '999 B')
  assert.equal(format.title('INSUFFICIENT_GPU'), 'Insufficient gpu')
  assert.equal(format.plural(1, 'step'), '1 step')
  assert.equal(format.plural(2000, 'step'), '2,000 steps')
  assert.deepEqual(format.trialName('runtimes/rt-1/trials/12'), { runtimeId: 'rt-1', trial: 12 })
  assert.equal(format.rate(0.12345), '0.123')
})

test('the batch monitor speaks of batches, evaluation or skipping', () => {
  assert.deepEqual(batchState({ epoch: 0, batch: 450, batches_per_epoch: 1000, phase: 'TRAINING' }), {
    text: 'E0 450/1000',
    done: 450,
    total: 1000,
    kind: 'training',
  })
  assert.equal(
    batchState({ epoch: 0, phase: 'EVALUATING', evaluation_batch: 12, evaluation_batches: 40 }).text,
    'E0 eval 12/40',
  )
  assert.equal(
    batchState({ phase: 'SKIPPING', skipped_batches: 12000, batches_to_skip: 400000 }).text,
    'skipping data 12,000/400,000',
  )
  assert.equal(batchState({ batch_text: 'E2 7/9', batch: 7 }).text, 'E2 7/9')
  assert.deepEqual(batchState(undefined), { text: 'E0 0', done: 0, total: 0, kind: 'training' })
})

test('ANSI colours become classes, everything else of ANSI goes', () => {
  assert.deepEqual(pieces('a \u001b[31;1mred\u001b[0m b'), [
    { text: 'a ', className: '' },
    { text: 'red', className: 'ansi-red ansi-bold' },
    { text: ' b', className: '' },
  ])
  assert.equal(plain('\u001b[2K\u001b]0;title\u0007x\u001b[38;5;196my'), 'xy')
  assert.deepEqual(pieces('plain'), [{ text: 'plain', className: '' }])
})

test('matches are marked, case ignored; a pattern that no browser reads marks nothing', () => {
  assert.deepEqual(matcher('LOSS', '')('a loss of Loss'), [
    [2, 6],
    [10, 14],
  ])
  assert.deepEqual(matcher('a.b', '')('a.b axb'), [[0, 3]])
  assert.deepEqual(matcher('', '[0-9]+')('x12y3'), [
    [1, 3],
    [4, 5],
  ])
  assert.deepEqual(matcher('', '(?P<n>[')('x'), [])
  assert.deepEqual(cut('abcd', [[1, 3]]), [
    { text: 'a', marked: false },
    { text: 'bc', marked: true },
    { text: 'd', marked: false },
  ])
})

test('a query is copied as Python with its range', () => {
  const text = pythonQuery({
    parents: ['runtimes/rt-1/trials/1'],
    keys: ['train/loss'],
    view: { from: 10.2, to: 99.7 },
  })
  assert.match(text, /first_step=11,\n {4}last_step=99,/)
  assert.match(pythonQuery({ parents: [], keys: [], view: null }), /bucket_count=1000,\n\)/)
})

test('a series is saved with one row a point, NaN included', () => {
  const series = empty('runtimes/rt-1/trials/1', 'train/loss')
  addPoint(series, 1, NaN, 5, 1)
  const rows = csv([series]).trim().split('\n')
  assert.equal(rows.length, 2)
  assert.equal(rows[1], 'runtimes/rt-1/trials/1,train/loss,1,false,1,1,5,NaN,NaN,NaN,NaN,1,1')
})
