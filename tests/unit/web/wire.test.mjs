import assert from 'node:assert/strict'
import { test } from 'node:test'
import { column, int, number, numbers, time } from '../../../services/gateway/web/functions/wire.js'
import { parser } from '../../../services/gateway/web/functions/sse.js'
import { formatToken, moveToken, parseToken } from '../../../services/gateway/web/functions/token.js'
import { address, encode, placeOfMlflow, route } from '../../../services/gateway/web/functions/query.js'

test('numbers that JSON cannot say are words', () => {
  assert.ok(Number.isNaN(number('NaN')))
  assert.equal(number('-Infinity'), -Infinity)
  assert.equal(number(null), undefined)
  assert.equal(number(0), 0)
  assert.deepEqual(numbers({ a: 'Infinity', b: 2 }), { a: Infinity, b: 2 })
  assert.deepEqual(column({ v: [1, null], v_non_finite: [[1, 'NaN']] }, 'v'), [1, NaN])
  assert.deepEqual(column({}, 'v'), [])
  assert.equal(time(null), undefined)
  assert.equal(time('1970-01-01T00:00:01Z'), 1000)
  assert.equal(int(null), 0)
})

test('a stream of events is read however it is cut', () => {
  const text = ': hello\n\nid: a=1\nevent: trials\ndata: {"x":\ndata: 1}\n\nevent: runtime\r\ndata: 2\r\n\r\n'
  const wanted = [
    { event: 'trials', data: '{"x":\n1}', id: 'a=1' },
    { event: 'runtime', data: '2', id: 'a=1' },
  ]
  for (const size of [1, 2, 3, 7, 1000]) {
    const feed = parser()
    const messages = []
    for (let i = 0; i < text.length; i += size) messages.push(...feed(text.slice(i, i + size)))
    assert.deepEqual(messages, wanted, `cut every ${size}`)
  }
})

test('positions of the live stream are read, moved and written', () => {
  assert.deepEqual(parseToken('events=12;trials=3/4'), { events: ['12'], trials: ['3', '4'] })
  assert.equal(formatToken({ trials: [3, 4], events: [12], logs: [''] }), 'events=12;trials=3/4')
  assert.equal(moveToken('events=12;logs=a%2Fb;metrics=9', { metrics: [10], logs: null }), 'events=12;metrics=10')
  assert.equal(moveToken('', { metrics: [0] }), '')
})

test('queries repeat lists and leave out nothing-values', () => {
  assert.equal(encode({ a: 1, b: ['x', 'y'], c: undefined, d: '', e: false, f: 0 }), 'a=1&b=x&b=y&f=0')
  assert.equal(address('/x', {}), '/x')
  assert.equal(address('/x', { q: 'a b&c' }), '/x?q=a+b%26c')
})

test('addresses name pages', () => {
  assert.deepEqual(route('/'), { page: 'runtimes' })
  assert.deepEqual(route('/runtimes/rt-1'), { page: 'runtime', id: 'rt-1' })
  assert.deepEqual(route('/runtimes/rt-1/audit'), { page: 'audit', id: 'rt-1' })
  assert.deepEqual(route('/trials'), { page: 'trials' })
  assert.deepEqual(route('/rules'), { page: 'rules' })
  assert.deepEqual(route('/nowhere'), { page: 'unknown' })
  assert.equal(
    placeOfMlflow('#/experiments/0/runs/01a2245d73e77c6e8d53fcba29757334'),
    '/runtimes/rt-06h28nbjstu6t3ajvit2itbj6g',
  )
  assert.equal(
    placeOfMlflow('#/experiments/0/runs/00000000000000000000000000000001/metrics/loss'),
    `/runtimes/rt-${'0'.repeat(25)}4`,
  )
  assert.equal(
    placeOfMlflow('#/experiments/817586806603936'),
    '/?filter=label.mlflow.experiment_id%3D%22817586806603936%22'.replaceAll('%3A', ':'),
  )
  for (const other of [
    '',
    '#',
    '#chart',
    '#/models/x',
    '#/experiments/0/runs/short/../..',
    '#//evil.example/experiments/0',
  ])
    assert.equal(placeOfMlflow(other), other.startsWith('#/experiments/0') ? placeOfMlflow('#/experiments/0') : '')
})
