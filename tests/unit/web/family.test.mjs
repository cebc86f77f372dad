import assert from 'node:assert/strict'
import { test } from 'node:test'
import { familyOf } from '../../../services/gateway/web/functions/family.js'

const trial = (number, donor = 0, step = 0, replaced = 0) => ({
  trial: number,
  suggestion: { donor, donor_step: step, replaced },
})

test('each trial stands behind the one whose weights it began with', () => {
  const trials = [trial(6, 5, 200, 4), trial(1), trial(2), trial(5, 1, 100, 3), trial(3), trial(4), trial(7, 1, 200, 2)]
  const found = familyOf(trials).map(({ trial, depth, donor, step, replaced }) => [
    trial.trial,
    depth,
    donor,
    step,
    replaced,
  ])
  assert.deepEqual(found, [
    [1, 0, 0, 0, 0],
    [5, 1, 1, 100, 3],
    [6, 2, 5, 200, 4],
    [7, 1, 1, 200, 2],
  ])
})

test('there is no tree where nobody was given weights, and a donor that is not known is no parent', () => {
  assert.deepEqual(familyOf([trial(1), trial(2)]), [])
  assert.deepEqual(familyOf([{ trial: 1 }]), [])
  assert.deepEqual(
    familyOf([trial(5, 1, 100, 3)]).map(({ depth }) => depth),
    [0],
  )
})
