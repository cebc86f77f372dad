import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  best,
  bestRow,
  changed,
  chosenSeries,
  layout,
  neighbour,
  strokes,
  trialNames,
} from '../../../services/gateway/web/functions/lineage.js'

const branch = (runtime_id, step, changes = [], weights_only = false) => ({
  origin: { runtime_id, trial: 1, step },
  changes,
  weights_only,
})
const nodes = [
  { runtime_id: 'rt-a', display_name: 'first', status: 'Completed', last_step: 100 },
  {
    runtime_id: 'rt-b',
    status: 'Failed',
    last_step: 70,
    branch: branch('rt-a', 40, [{ field: 'parameters.rate', before: '0.1', after: '0.01' }]),
  },
  { runtime_id: 'rt-c', status: 'Started', last_step: 0, branch: branch('rt-b', 50) },
  { runtime_id: 'rt-d', status: 'Started', last_step: 30, branch: branch('rt-a', 80, [], true) },
]

test('each run is a row behind its parent, from where it began to where it came', () => {
  assert.deepEqual(
    layout(nodes).map(({ name, depth, parent, from, to }) => [name, depth, parent, from, to]),
    [
      ['first', 0, -1, 0, 100],
      ['rt-b', 1, 0, 40, 70],
      ['rt-c', 2, 1, 50, 50],
      ['rt-d', 1, 0, 0, 30],
    ],
  )
})

test('what is other stands on the edge', () => {
  assert.deepEqual(
    nodes.map((node) => changed(node.branch)),
    ['', 'from step 40, rate 0.01', 'from step 50', 'weights of step 80'],
  )
})

test('a line goes along the steps, and down from the parent where it branched off', () => {
  const drawn = strokes(layout(nodes), 20)
  assert.deepEqual(drawn[0], { status: 'Completed', along: 'M0 10H1000', down: '' })
  assert.deepEqual(drawn[1], { status: 'Failed', along: 'M400 30H700', down: 'M400 10V30' })
  assert.equal(drawn[2].along, 'M500 50H502', 'what has not trained yet can be seen')
})

test('keys lead along the rows, to the parent, to the first branch, and to both ends', () => {
  const rows = layout(nodes)
  const from = (at) =>
    ['ArrowDown', 'ArrowUp', 'ArrowLeft', 'ArrowRight', 'Home', 'End'].map((key) => neighbour(rows, at, key))
  assert.deepEqual(from(0), [1, -1, -1, 1, 0, 3])
  assert.deepEqual(from(1), [2, 0, 0, 2, 0, 3])
  assert.deepEqual(from(3), [-1, 2, 0, -1, 0, 3])
  assert.equal(neighbour(rows, 1, 'x'), -1)
  assert.equal(neighbour(rows, -1, 'ArrowDown'), -1, 'the focus is elsewhere')
})

test('trials are asked for, of a search the first twenty, of what is deleted none', () => {
  const found = trialNames([
    { runtime_id: 'rt-a', trial_count: 1 },
    { runtime_id: 'rt-b', trial_count: 30 },
    { runtime_id: 'rt-c', deleted: true },
  ])
  assert.equal(found.length, 21)
  assert.equal(found.at(-1), 'runtimes/rt-b/trials/20')
})

test('at first the series of the configuration is chosen, else the loss', () => {
  assert.equal(chosenSeries(['eval/accuracy', 'train/loss'], 'eval/accuracy'), 'eval/accuracy')
  assert.equal(chosenSeries(['eval/accuracy', 'train/loss'], ''), 'train/loss')
  assert.equal(chosenSeries(['b/x'], 'eval/accuracy'), 'b/x')
  assert.equal(chosenSeries([], ''), '')
})

test('the best value of a run is that of its best trial, and the best run of all wins', () => {
  const one = (id, trial, smallest, largest, better) => ({
    parent: `runtimes/${id}/trials/${trial}`,
    min: smallest,
    max: largest,
    last: largest,
    best: better,
  })
  const least = best([
    one('rt-a', 1, 2, 3, 2),
    one('rt-b', 1, 5, 5, 5),
    one('rt-b', 2, 1, 9, 1),
    one('rt-c', 1, 0, 0, 'NaN'),
  ])
  assert.deepEqual(
    [...least],
    [
      ['rt-a', { value: 2, mode: 'min' }],
      ['rt-b', { value: 1, mode: 'min' }],
    ],
  )
  assert.equal(bestRow(layout(nodes), least), 1)
  const most = best([one('rt-a', 1, 2, 3, 3), one('rt-b', 1, 5, 5, 5)])
  assert.deepEqual([most.get('rt-b'), bestRow(layout(nodes), most)], [{ value: 5, mode: 'max' }, 1])
  const unknown = best([one('rt-a', 1, 2, 3, null)])
  assert.deepEqual([unknown.get('rt-a'), bestRow(layout(nodes), unknown)], [{ value: 3, mode: 'last' }, -1])
})
