import assert from 'node:assert/strict'
import { test } from 'node:test'
import { objective, objectives, ranked, valueIn, valueOf } from '../../../services/gateway/web/functions/search.js'
import { coloursBy, searchedNames } from '../../../services/gateway/web/functions/searched.js'

const trial = (number, parameters, more = {}) => ({
  name: `t${number}`,
  trial: number,
  searched_parameters: parameters,
  ...more,
})
const best = (value) => ({ best: { metric: 'eval/loss', value } })

test('trials are ranked by what the run keeps its best snapshots by', () => {
  const trials = [
    trial(1, {}, best(0.5)),
    trial(2, {}, { last_values: {} }),
    trial(3, {}, best(0.25)),
    trial(4, {}, best('NaN')),
  ]
  assert.deepEqual(
    ranked(trials, 'MIN').map((one) => one.trial),
    [3, 1, 2, 4],
  )
  assert.deepEqual(
    ranked(trials, 'MAX').map((one) => one.trial),
    [1, 3, 2, 4],
  )
  assert.deepEqual(
    objective({ configuration: { snapshots: { keep_best: { metric: 'eval/accuracy', mode: 'max' } } } }, []),
    { metric: 'eval/accuracy', mode: 'MAX' },
  )
  assert.deepEqual(objective({}, []), { metric: 'train/loss', mode: 'MIN' })
  assert.equal(valueOf(trial(1, {}, { last_values: { 'train/loss': 2 } })), 2)
})

test('colours follow the searched value in its order, the same value has the same colour', () => {
  const trials = [
    trial(1, { rate: '0.1' }),
    trial(2, { rate: '0.001' }),
    trial(3, { rate: '0.01' }),
    trial(4, { rate: '0.1' }),
  ]
  const { colours, legend } = coloursBy(trials, 'rate')
  assert.deepEqual(
    legend.map((one) => one.text),
    ['0.001', '0.01', '0.1'],
  )
  assert.equal(colours.get('t1'), colours.get('t4'))
  assert.equal(new Set(colours.values()).size, 3)
  assert.deepEqual(searchedNames([trial(1, { a: '1', b: '1' }), trial(2, { a: '1', b: '2' })]), ['b', 'a'])
})

test('a search with a sampler is compared by its objective, and by what the sampler was told', () => {
  const runtime = {
    configuration: {
      search: { objective: { metric: 'eval/accuracy', mode: 'max' } },
      snapshots: { keep_best: { metric: 'eval/loss', mode: 'min' } },
    },
  }
  assert.deepEqual(objective(runtime, []), { metric: 'eval/accuracy', mode: 'MAX' })
  const best = { metric: 'eval/accuracy', value: 0.9 }
  assert.equal(valueOf({ best, suggestion: { sampler: 'tpe', value: 0.8 } }), 0.8)
  assert.equal(valueOf({ best, status: 'Running', suggestion: { sampler: 'tpe', value: null } }), 0.9)
  assert.equal(valueOf({ best, status: 'Failed', suggestion: { sampler: 'tpe', value: null } }), undefined)
})

test('the legend of many values names the ends and the middle', () => {
  const trials = Array.from({ length: 20 }, (_, i) => ({ name: `t${i}`, searched_parameters: { x: String(i) } }))
  const { colours, legend } = coloursBy(trials, 'x')
  assert.deepEqual(
    legend.map(({ text }) => text),
    ['0', '10', '19'],
  )
  assert.equal(colours.size, 20)
})

test('of several objectives each is told, the first orders, and what breaks a constraint comes after', () => {
  const runtime = { configuration: { search: { objectives: [{ metric: 'a', mode: 'max' }, { metric: 'b' }] } } }
  assert.deepEqual(objectives(runtime, []), [
    { metric: 'a', mode: 'MAX' },
    { metric: 'b', mode: 'MIN' },
  ])
  assert.deepEqual(objectives(null, []), [{ metric: 'train/loss', mode: 'MIN' }])
  const told = (number, a, infeasible = false) =>
    trial(
      number,
      {},
      {
        suggestion: {
          value: null,
          values: [
            { metric: 'a', value: a },
            { metric: 'b', value: 9 },
          ],
          infeasible,
        },
      },
    )
  const trials = [told(1, 0.1), told(2, 0.9, true), told(3, 0.5)]
  assert.equal(valueIn(trials[0], 'b'), 9)
  assert.equal(valueIn(trials[0], 'c'), undefined)
  assert.deepEqual(
    ranked(trials, 'MAX').map((one) => one.trial),
    [3, 1, 2],
  )
})
