import assert from 'node:assert/strict'
import { test } from 'node:test'
import { collectiveOf, placeOf, whereabouts } from '../../../services/gateway/web/functions/stacks.js'

const recorded = (sequence, rank, more = {}) => ({
  sequence,
  trial: 1,
  attempt: 2,
  event_time: `2026-11-30T10:00:0${sequence}Z`,
  trial_event: { stacks_recorded: { rank, step: 10, place: 'CODE', frame: 'train.py:3 in train', text: '', ...more } },
})

test('each rank says the newest it has said, whichever was heard first', () => {
  const older = recorded(3, 1, { frame: 'data.py:9 in read' })
  const verdict = { step: 10, message: 'rank 1 waits for its next batch' }
  const events = [
    recorded(8, 1),
    { sequence: 7, trial: 1, attempt: 2, trial_event: { stall_diagnosed: verdict } },
    recorded(6, 0),
    older,
  ]
  const found = whereabouts(events, 1, 2)
  assert.deepEqual(
    found.said.map((one) => [one.stacks.rank, one.sequence, one.time]),
    [
      [0, 6, '2026-11-30T10:00:06Z'],
      [1, 8, '2026-11-30T10:00:08Z'],
    ],
  )
  assert.equal(found.verdict, verdict)
})

test('another attempt, another trial and what a fenced attempt wrote say nothing', () => {
  const events = [
    { ...recorded(5, 0), attempt: 1 },
    { ...recorded(4, 0), trial: 2 },
    { ...recorded(3, 0), ignored: true },
  ]
  assert.deepEqual(whereabouts(events, 1, 2), { said: [], verdict: undefined })
})

test('a place is said in words, and with the line where there is one', () => {
  assert.equal(
    placeOf({ place: 'DATA_LOADER', frame: 'data.py:9 in read' }),
    'waits for its next batch, at data.py:9 in read',
  )
  assert.equal(placeOf({ place: null, frame: 'data.py:9 in read' }), 'data.py:9 in read')
  assert.equal(placeOf({ place: 'COLLECTIVE', frame: '' }), 'waits for other ranks')
})

test('the collective that is under way is named', () => {
  const group = { group: '0', enqueued: 812, completed: 811, operation: 'all_reduce' }
  assert.equal(collectiveOf(group), 'group 0: 811 of 812 collectives done (all_reduce)')
  assert.equal(collectiveOf({ ...group, completed: 812 }), 'group 0: 812 of 812 collectives done')
})
