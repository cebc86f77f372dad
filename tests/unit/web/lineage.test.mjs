import assert from 'node:assert/strict'
import { test } from 'node:test'
import { changed, layout, strokes } from '../../../services/gateway/web/functions/lineage.js'

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
