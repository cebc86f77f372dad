import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as parallel from '../../../services/gateway/web/functions/parallel.js'
import { marksOf, scaleOf, shareOf, textAt } from '../../../services/gateway/web/functions/scales.js'

const trial = (number, parameters, value, outcome = 'VALUE') => ({
  name: `t${number}`,
  trial: number,
  status: outcome === 'PRUNED' ? 'Waiting' : 'Completed',
  searched_parameters: parameters,
  suggestion: { outcome, value: outcome === 'VALUE' ? value : null },
})

test('a range over two powers of ten is logarithmic unless the configuration says otherwise', () => {
  const scale = scaleOf('rate', [0.001, 0.1])
  assert.equal(scale.log, true)
  assert.ok(Math.abs(shareOf(scale, 0.01) - 0.5) < 1e-12)
  assert.deepEqual(
    marksOf(scale, 4).map((one) => one.text),
    ['0.001', '0.01', '0.1'],
  )
  assert.equal(scaleOf('rate', [0.001, 0.1], { log: false }).log, false)
  assert.equal(scaleOf('rate', [-1, 100], { log: true }).log, false)
})

test('words have places of their own, and what is not there has none', () => {
  const scale = scaleOf('optimizer', ['sgd', 'adam', true, undefined])
  assert.deepEqual(scale.words, ['adam', 'sgd', 'true'])
  assert.equal(shareOf(scale, 'sgd'), 0.5)
  assert.equal(shareOf(scale, undefined), undefined)
  assert.equal(shareOf(scale, 'lion'), undefined)
  assert.equal(textAt(scale, 0.9), 'true')
  assert.equal(shareOf(scaleOf('one', ['a']), 'a'), 0.5)
  const flat = scaleOf('flat', [3, 3])
  assert.equal(shareOf(flat, 3), 0.5)
  assert.equal(shareOf(flat, NaN), undefined)
})

test('a trial that was pruned stands with its value at its last rung', () => {
  const rungs = parallel.lastRungs([
    { trial: 2, rung: 1, value: 0.9 },
    { trial: 2, rung: 2, value: 0.7 },
    { trial: 3, rung: 1, value: 'NaN' },
  ])
  const trials = [trial(1, { rate: '0.1' }, 0.5), trial(2, { rate: '0.2' }, 0, 'PRUNED'), trial(3, {}, 0, 'PRUNED')]
  const { scales, rows } = parallel.parallel(trials, ['eval/loss'], { rungs })
  assert.deepEqual(
    scales.map((one) => one.name),
    ['rate', 'eval/loss'],
  )
  assert.deepEqual(
    rows.map((one) => one.places),
    [
      [0, 0],
      [1, 1],
      [undefined, undefined],
    ],
  )
  assert.deepEqual([...parallel.shades(rows, 'MIN')], [0, 6, -1])
  assert.deepEqual([...parallel.shades(rows, 'MAX')], [6, 0, -1])
})

test('brushes admit what lies within all of them', () => {
  const trials = [1, 2, 3].map((n) => trial(n, { a: String(n), b: String(4 - n) }, n))
  const { scales, rows } = parallel.parallel(trials, ['loss'], { order: ['b', 'a'] })
  assert.deepEqual(
    scales.map((one) => one.name),
    ['b', 'a', 'loss'],
  )
  const shown = (brushes) => rows.filter((one) => parallel.admits(one, scales, brushes)).map((one) => one.trial.trial)
  assert.deepEqual(shown(new Map()), [1, 2, 3])
  assert.deepEqual(shown(new Map([['a', [0.5, 1]]])), [2, 3])
  assert.deepEqual(
    shown(
      new Map([
        ['a', [0.5, 1]],
        ['b', [0.4, 1]],
      ]),
    ),
    [2],
  )
  assert.equal(parallel.brushText(scales[1], [0.5, 1]), '2 to 3')
})

test('brushes stand in the address and come back from it, and nonsense is no brush', () => {
  const brushes = new Map([
    ['rate:of,all', [0.1234, 0.5]],
    ['b', [0, 1]],
  ])
  const text = parallel.brushesToText(brushes)
  assert.equal(text, 'rate%3Aof%2Call:0.123:0.5,b:0:1')
  assert.deepEqual(
    [...parallel.brushesFromText(text)],
    [
      ['rate:of,all', [0.123, 0.5]],
      ['b', [0, 1]],
    ],
  )
  assert.equal(parallel.brushesFromText('a:0.5,b:x:y,c:0.9:0.1,:0:1,d:-1:2').size, 0)
})

test('the nearest line is found between the scales, and none out of reach', () => {
  const rows = [{ places: [0, 1] }, { places: [0.5, 0.5] }, { places: [undefined, 0.5] }]
  const [xOf, yOf] = [(i) => i * 100, (share) => 100 - share * 100]
  assert.equal(parallel.nearestRow(rows, { x: 90, y: 12, reach: 8 }, xOf, yOf), 0)
  assert.equal(parallel.nearestRow(rows, { x: 10, y: 52, reach: 8 }, xOf, yOf), 1)
  assert.equal(parallel.nearestRow(rows, { x: 10, y: 20, reach: 8 }, xOf, yOf), -1)
})

test('the front has what nothing is better than in both', () => {
  const points = [
    { x: 1, y: 5 },
    { x: 2, y: 3 },
    { x: 2, y: 4 },
    { x: 3, y: 3 },
    { x: 4, y: 1 },
  ]
  assert.deepEqual(parallel.front(points, { x: 'MIN', y: 'MIN' }), [points[0], points[1], points[4]])
  assert.deepEqual(parallel.front(points, { x: 'MAX', y: 'MIN' }), [points[4]])
  assert.deepEqual(parallel.front(points, { x: 'MIN', y: 'MAX' }), [points[0]])
})

test('the best so far never gets worse', () => {
  const points = [3, 5, 2, 4].map((y, x) => ({ x, y }))
  const ys = (mode) => parallel.bestSoFar(points, mode).map((one) => one.y)
  assert.deepEqual(ys('MIN'), [3, 3, 2, 2])
  assert.deepEqual(ys('MAX'), [3, 5, 5, 5])
})

test('several objectives have a scale each, and the first one orders', () => {
  const values = (number, ...two) => ({
    ...trial(number, { a: String(number) }, null),
    suggestion: { outcome: 'VALUE', value: null, values: two.map((value, i) => ({ metric: `m${i}`, value })) },
  })
  const trials = [values(1, 3, 10), values(2, 1, 20)]
  const { scales, rows } = parallel.parallel(trials, ['m0', 'm1'])
  assert.deepEqual(
    scales.map((one) => one.name),
    ['a', 'm0', 'm1'],
  )
  assert.deepEqual(
    rows.map((one) => [one.value, ...one.places]),
    [
      [3, 0, 1, 0],
      [1, 1, 0, 1],
    ],
  )
})
