import assert from 'node:assert/strict'
import test from 'node:test'
import { fields, fingerprint } from '../../../services/gateway/web/functions/environment.js'

const git = { commit: 'abc', branch: 'main', remote: '', dirty: false }

test('what is not known is left out', () => {
  assert.deepEqual(fields(undefined), {})
  assert.deepEqual(fields({ python: '3.11', devices: [], command: '' }), { python: '3.11' })
})

test('what is not committed is told in a word', () => {
  assert.equal(fields({ git }).git.changes, 'none')
  assert.equal(
    fields({ git: { ...git, dirty: true, untracked: ['a'] } }).git.changes,
    'only files that are not tracked',
  )
  assert.equal(fields({ git: { ...git, dirty: true } }).git.changes, 'not recorded')
  assert.equal(fields({ git: { ...git, unknown_changes: true } }).git.changes, 'unknown')
})

test('two diffs of one length do not look alike', () => {
  const [one, other] = ['+a', '+b'].map(
    (diff) => fields({ git: { ...git, dirty: true, diff, diff_byte_count: '2' } }).git.changes,
  )
  assert.notEqual(one, other)
  assert.equal(fingerprint('+a'), fingerprint('+a'))
})
