import assert from 'node:assert/strict'
import { test } from 'node:test'
import { completions, has, terms, toggled } from '../../../services/gateway/web/functions/filter.js'
import { currentTrial, sorted, sparkGroups, summary, why } from '../../../services/gateway/web/functions/rows.js'

test('a counter and the rest of a filter combine', () => {
  assert.deepEqual(terms('status=Failed AND name:"a AND b" AND walk'), ['status=Failed', 'name:"a AND b"', 'walk'])
  assert.equal(toggled('walk', 'status', 'Failed'), 'walk AND status=Failed')
  assert.equal(toggled('walk AND status=Failed', 'status', 'Failed'), 'walk')
  assert.equal(toggled('status=Failed AND walk', 'status', 'Aborted'), 'walk AND status=Aborted')
  assert.equal(has('walk AND status=Failed', 'status', 'Failed'), true)
  assert.equal(has('name:"status=Failed"', 'status', 'Failed'), false)
})

test('fields are completed, then the values that a field can have', () => {
  assert.deepEqual(completions(''), [])
  assert.deepEqual(completions('sta'), ['status='])
  assert.deepEqual(completions('walk AND cre'), ['walk AND created_by=', 'walk AND create_time='])
  assert.deepEqual(completions('status=f'), ['status=Failed'])
  assert.deepEqual(completions('status=Failed'), [])
  assert.deepEqual(completions('lab'), ['label.'])
})

const trials = (...list) => new Map(list.map((one) => [one.trial, one]))

test('a row says why a run ended without what its status says already', () => {
  assert.equal(why('Failed in trial 1, the training code raised: ValueError: no data'), 'ValueError: no data')
  assert.equal(why('Failed in trial 12, out of memory: killed at 8 GB'), 'out of memory: killed at 8 GB')
  assert.equal(why('Aborted: the rate is too high'), 'the rate is too high')
  assert.equal(why(undefined), '')
})

test('a plain run tells the numbers of its trial', () => {
  const one = {
    trial: 1,
    status: 'Running',
    elapsed: 19,
    progress: { step: 5, completion_percent: 50 },
    last_values: { 'train/loss': 2 },
    estimate: { remaining: 7 },
  }
  const told = summary({ trial_count: 1 }, trials(one), 0)
  assert.deepEqual(
    [told.progress, told.elapsed, told.runs, told.loss, told.estimate],
    [one.progress, 19, true, 2, one.estimate],
  )
})

test('a share that is no number counts as nothing: a word is not added to a sum', () => {
  const strange = { trial: 1, status: 'Running', progress: { step: 5, completion_percent: 'NaN' } }
  const half = { trial: 2, status: 'Running', progress: { step: 5, completion_percent: 50 } }
  assert.equal(summary({ trial_count: 2 }, trials(strange, half), 0).progress.completion_percent, 25)
  const of = (id) => [{}, { progress: { completion_percent: { a: 'NaN', b: 10, c: 70 }[id] } }]
  assert.deepEqual(sorted(['a', 'b', 'c'], 'steps', true, of), ['c', 'b', 'a'])
})

test('a search tells its own numbers: share of all trials, time since its start, the best value', () => {
  const start = '2026-01-01T00:00:00Z'
  const runtime = {
    trial_count: 4,
    status: 'Started',
    start_time: start,
    trials: { completed: 1 },
    configuration: { snapshots: { keep_best: { mode: 'min' } } },
  }
  const list = trials(
    { trial: 1, status: 'Completed', best: { value: 0.5 }, last_values: { 'train/loss': 9 } },
    { trial: 2, status: 'Running', progress: { completion_percent: 50, step: 1 }, last_values: { 'train/loss': 0.25 } },
    { trial: 3, status: 'Waiting', last_values: { 'train/loss': 'NaN' } },
  )
  const told = summary(runtime, list, Date.parse(start) + 133_000)
  assert.deepEqual(
    [told.progress.completion_percent, told.progress.text, told.elapsed, told.loss, told.trials],
    [37.5, '1 / 4 trials', 133, 0.25, '4'],
  )
  assert.equal(summary({ ...runtime, configuration: { snapshots: { keep_best: { mode: 'max' } } } }, list, 0).loss, 0.5)
  assert.equal(currentTrial(list).trial, 2)
})

test('rows without a value come last, whichever way', () => {
  const values = { a: 2, b: undefined, c: 1, d: NaN }
  const of = (id) => [{}, { loss: values[id] }]
  assert.deepEqual(sorted(['b', 'a', 'c', 'd'], 'loss', false, of), ['c', 'a', 'b', 'd'])
  assert.deepEqual(sorted(['b', 'a', 'c', 'd'], 'loss', true, of), ['a', 'c', 'b', 'd'])
})

test('a long run and a short one have their sparklines apart', () => {
  const length = { a: 10, b: 12, c: 9000 }
  assert.deepEqual(
    sparkGroups(['a', 'b', 'c'], (id) => length[id]),
    [['a', 'b'], ['c']],
  )
})
