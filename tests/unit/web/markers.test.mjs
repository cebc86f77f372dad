import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  barEnd,
  byKind,
  changeSentence,
  firingMarkers,
  layout,
  position,
  redoneStretches,
} from '../../../services/gateway/web/functions/markers.js'

test('the bar ends with the plan, or a little beyond what is done', () => {
  assert.equal(barEnd({ step: 10, total_steps: 100 }), 100)
  assert.equal(barEnd({ step: 120, total_steps: 100 }), 120)
  assert.equal(barEnd({ step: 100 }), 115)
  assert.equal(barEnd(undefined), 1)
})

test('markers stand where their steps are', () => {
  assert.equal(position(250, 1000, 800), 200)
  const groups = layout([{ step: 500 }, { step: 250 }], 1000, 800)
  assert.deepEqual(
    groups.map((group) => [group.x, group.first, group.count]),
    [
      [200, 250, 1],
      [400, 500, 1],
    ],
  )
})

test('markers closer than 4 px become one that says how many', () => {
  const markers = Array.from({ length: 100 }, (_, i) => ({ step: i + 1 }))
  const groups = layout(markers, 100, 100)
  assert.equal(groups.length, 25)
  assert.ok(groups.every((group, i) => i === 0 || group.x - groups[i - 1].x >= 4))
  assert.equal(
    groups.reduce((sum, group) => sum + group.count, 0),
    100,
  )
  assert.deepEqual([groups[0].first, groups[0].last], [1, 4])
})

test('what happened and what is planned are never one marker', () => {
  const groups = layout([{ step: 10 }, { step: 11, planned: true }], 1000, 1000)
  assert.deepEqual(
    groups.map((group) => group.planned),
    [false, true],
  )
})

test('markers are sorted by kind, unknown kinds are left out', () => {
  const kinds = byKind([
    { kind: 'EVALUATION', step: 1 },
    { kind: 'SNAPSHOT', step: 2 },
    { kind: 'NEW', step: 3 },
  ])
  assert.deepEqual([kinds.EVALUATION.length, kinds.EPOCH_END.length, kinds.SNAPSHOT.length], [1, 0, 1])
})

test('stretches done twice are joined where they touch', () => {
  assert.deepEqual(
    redoneStretches([
      { first_step: 50, last_step: 80 },
      { first_step: 10, last_step: 20 },
      { first_step: 15, last_step: 30 },
    ]),
    [
      [10, 30],
      [50, 80],
    ],
  )
  assert.deepEqual(redoneStretches([{ first_step: 5, last_step: 5 }]), [])
  assert.deepEqual(redoneStretches(undefined), [])
})

test('what rules found stands at its step, unless its stretch was abandoned', () => {
  const firing = (step, more = {}) => ({
    fired: { trial: 1, step, rule_name: 'Spike', message: `8 at step ${step}`, ...more.fired },
    cleared: more.cleared,
    sequence: step,
    record_time: new Date(step * 1000).toISOString(),
  })
  const all = [
    firing(30),
    firing(20, { cleared: { reason: 'RECOVERED' } }),
    firing(10, { cleared: { reason: 'SUPERSEDED' } }),
    firing(25, { fired: { trial: 2 } }),
    firing(0),
  ]
  const steps = (past) => firingMarkers(all, 1, past).map((marker) => marker.step)
  assert.deepEqual(steps(), [30, 20])
  assert.equal(firingMarkers(all, 1)[0].sentence, 'Spike: 8 at step 30')
  assert.deepEqual(steps({ as_of: '29' }), [20])
  assert.deepEqual(steps({ as_of: new Date(20_000).toISOString() }), [20])
})

test('a change says from what to what, and for whom', () => {
  const changes = [
    { name: 'rate', old: '0.1', new: '0.05' },
    { name: 'clip', old: '1.0', new: '0.5' },
  ]
  assert.equal(changeSentence({ step: 3, changes, actor: 'ada' }), 'rate 0.1 → 0.05, clip 1.0 → 0.5, by ada')
  assert.equal(changeSentence({ step: 3, changes: changes.slice(1) }), 'clip 1.0 → 0.5')
  assert.equal(byKind([{ kind: 'PARAMETERS_CHANGED', step: 3 }]).PARAMETERS_CHANGED.length, 1)
})
