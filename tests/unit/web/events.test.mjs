import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  causeChain,
  fold,
  mergeNewest,
  payload,
  rankOf,
  reasonOf,
  stepOf,
  typeTitle,
} from '../../../services/gateway/web/functions/events.js'
import {
  changesStatus,
  eventAt,
  histogram,
  indexOfSequence,
  places,
  tellingChanges,
  toneOf,
} from '../../../services/gateway/web/functions/replay.js'
import {
  Digits,
  compare,
  flatten,
  inline,
  inlineScalar,
  keepDigits,
  nearest,
  resolvedOf,
  scalar,
  stripped,
  yaml,
} from '../../../services/gateway/web/functions/configuration.js'
import { configurationOf, groups, pairs, violationsOf } from '../../../services/gateway/web/functions/schema.js'

const event = (sequence, type, body, more = {}) => ({
  sequence,
  event_id: `e${sequence}`,
  type: `milepost.trial.${type}.v1`,
  trial_event: { [type]: body },
  ...more,
})

test('an event is read through its one-of', () => {
  const one = event(1, 'snapshot_committed', { step: 1200, reason: 'INTERVAL' })
  assert.equal(typeTitle(one.type), 'Snapshot committed')
  assert.deepEqual(payload(one), { name: 'snapshot_committed', body: { step: 1200, reason: 'INTERVAL' } })
  assert.equal(stepOf(one), 1200)
  assert.equal(reasonOf(one), 'interval')
  assert.equal(rankOf({ ...one, scope: 'INSTANCE', trial_event: { x: { rank: 3 } } }), 3)
})

test('repeats in a row are folded with their number', () => {
  const folded = fold([event(5, 'a', {}), event(4, 'a', {}), event(3, 'b', {}), event(2, 'a', {})])
  assert.deepEqual(
    folded.map((one) => [one.event.sequence, one.count]),
    [
      [5, 2],
      [3, 1],
      [2, 1],
    ],
  )
  assert.equal(fold([event(2, 'a', { reason: 'LOST' }), event(1, 'a', { reason: 'EXITED' })]).length, 2)
  assert.equal(fold([event(2, 'a', { firing_id: 'f2' }), event(1, 'a', { firing_id: 'f1' })]).length, 2)
})

test('the chain of causes ends where nothing is known', () => {
  const all = [
    event(1, 'a', {}, { cause: 'command' }),
    event(2, 'b', {}, { cause: 'e1' }),
    event(3, 'c', {}, { cause: 'e2' }),
  ]
  const known = new Map(all.map((one) => [one.event_id, one]))
  assert.deepEqual(
    causeChain(all[2], known).map((one) => one.event_id),
    ['e2', 'e1', 'command'],
  )
  assert.deepEqual(causeChain({ event_id: 'x', cause: 'x' }, known), [])
})

test('lists of events are joined, newest first, each once', () => {
  assert.deepEqual(
    mergeNewest([{ sequence: 3 }, { sequence: 1 }], [{ sequence: 2 }, { sequence: 3 }], 10).map((one) => one.sequence),
    [3, 2, 1],
  )
})

test('moments lie on a line by time and by number', () => {
  assert.deepEqual(places([0, 10, 100], 'time'), [0, 0.1, 1])
  assert.deepEqual(places([0, 10, 100], 'sequence'), [0, 0.5, 1])
  assert.equal(eventAt([0, 0.1, 1], 0.5), 1)
  assert.equal(eventAt([0, 0.1, 1], 1), 2)
  assert.equal(indexOfSequence([{ sequence: 3 }, { sequence: 8 }], 7), 0)
  assert.deepEqual(histogram([0, 0.1, 0.99, 1], 2), [2, 2])
  assert.ok(
    changesStatus({ type: 'milepost.runtime.runtime_failed.v1' }) &&
      !changesStatus({ type: 'milepost.trial.snapshot_committed.v1' }),
  )
  assert.equal(toneOf({ type: 'milepost.runtime.runtime_failed.v1' }), 'failed')
})

test('of the changes of an event the words come first, and what only counts them is counted', () => {
  const changes = [
    'runtime.change_sequence',
    'runtime.end_time',
    'runtime.etag',
    'runtime.phase',
    'runtime.status',
    'trials[1].sequence',
  ].map((path) => ({ path }))
  const { telling, rest } = tellingChanges(changes)
  assert.deepEqual(
    telling.map((change) => change.path),
    ['runtime.status', 'runtime.phase', 'runtime.end_time'],
  )
  assert.equal(rest, 3)
})

test('a runtime is most likely compared with those that run the same, the newest first', () => {
  const one = (name, entrypoint, day) => ({
    name,
    configuration: { entrypoint },
    create_time: `2026-01-0${day}T00:00:00Z`,
  })
  const others = [one('a', 'm:f', 1), one('b', 'other:f', 4), one('c', 'm:f', 3), one('d', 'm:f', 2)]
  assert.deepEqual(
    nearest(one('', 'm:f', 5), others).map(({ name }) => name),
    ['c', 'd', 'a'],
  )
  assert.deepEqual(
    nearest(one('', 'x:f', 5), others, 2).map(({ name }) => name),
    ['b', 'c'],
  )
})

test('configurations are compared path by path', () => {
  assert.deepEqual(flatten({ a: { b: 1 }, c: [2] }), [
    ['a.b', 1],
    ['c', [2]],
  ])
  const rows = compare({ a: 1, b: { c: 2 } }, { a: 1, b: { c: 3, d: 4 } })
  assert.deepEqual(
    rows.filter((row) => row.differs).map((row) => [row.path, row.left, row.right]),
    [
      ['b.c', 2, 3],
      ['b.d', undefined, 4],
    ],
  )
  assert.equal(inline(undefined), '–')
  assert.equal(scalar('0.003'), 0.003)
  assert.equal(scalar('adam'), 'adam')
  assert.equal(scalar('{"a":1}'), '{"a":1}')
})

test('numbers keep the digits in which they were written', () => {
  const kept = keepDigits('', 1, { source: '1.0' })
  assert.ok(kept instanceof Digits)
  assert.equal(keepDigits('', 0.5, { source: '0.5' }), 0.5)
  assert.equal(keepDigits('', 1, undefined), 1)
  assert.equal(yaml({ a: kept }), 'a: 1.0\n')
  assert.equal(inline(kept), '1.0')
  assert.deepEqual(flatten(stripped({ a: { b: kept } })), [['a.b', kept]])
  assert.equal(compare({ a: kept }, { a: 1 })[0].differs, true)
  assert.deepEqual(resolvedOf({ resolved_text: '{"a": 2}', configuration: {} }), { a: 2 })
})

test('text that would be read as something else is shown in quotes', () => {
  assert.equal(inlineScalar('0.003'), '"0.003"')
  assert.equal(inlineScalar('adam'), 'adam')
  assert.equal(inlineScalar(0.003), '0.003')
})

test('YAML quotes what would be read as something else', () => {
  assert.equal(
    yaml({ name: 'a b', yes: 'true', n: 1, list: ['x', 2], none: {}, deep: { u: 'file:train' } }),
    'name: "a b"\n"yes": "true"\nn: 1\nlist: [x, 2]\nnone: {}\ndeep:\n  u: file:train\n',
  )
})

test('a form becomes a configuration of only what was typed', () => {
  const made = configurationOf({
    name: 'x',
    parameters: 'lr = 0.1\nname: adam',
    'resources.workers': '2',
    'search.space': 'lr = 0.1, 0.2\nx = {"minimum": 0, "maximum": 1}',
    'search.points': '{"x": 0.5}',
    environment: 'T = secret:HF',
    labels: 'n = 1',
    not_secret: 'a, b',
  })
  assert.deepEqual(made, {
    name: 'x',
    parameters: { lr: 0.1, name: 'adam' },
    labels: { n: '1' },
    not_secret: ['a', 'b'],
    environment: { T: { secret: 'HF' } },
    resources: { workers: 2 },
    search: { space: { lr: [0.1, 0.2], x: { minimum: 0, maximum: 1 } }, points: [{ x: 0.5 }] },
  })
  assert.deepEqual(pairs('a\n\n b : c=d '), [
    ['a', ''],
    ['b', 'c=d'],
  ])
})

test('rules of a run are objects, and numbers in them keep their digits', () => {
  const { rules } = configurationOf({ rules: '{"id": "a", "detector": {"threshold": {"value": 5}}}\nno object' })
  assert.equal(rules.length, 2)
  assert.equal(yaml({ rules }), 'rules: [{"id": "a", "detector": {"threshold": {"value": 5}}}, "no object"]\n')
  assert.equal(inline([{ value: new Digits('5.0') }]), '[{"value": 5.0}]')
})

test('violations are shown at the field they are about', () => {
  const violations = [
    { field: 'configuration.parameters.lr', description: 'x' },
    { field: 'name', description: 'y' },
  ]
  assert.deepEqual(
    violationsOf(violations, 'parameters').map((one) => one.description),
    ['x'],
  )
  assert.deepEqual(
    violationsOf(violations, 'name').map((one) => one.description),
    ['y'],
  )
  assert.deepEqual(violationsOf(undefined, 'name'), [])
  assert.ok(groups.every((group) => group.fields.length > 0))
})
