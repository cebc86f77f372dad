import assert from 'node:assert/strict'
import { test } from 'node:test'
import { difference, lookAlikes, skeleton } from '../../../services/gateway/web/functions/alike.js'
import { mayLookAlike, piecesOf, spelled } from '../../../services/gateway/web/functions/names.js'
import { groupKeys, nearestIndex, titleOf } from '../../../services/gateway/web/functions/plot.js'
import { addPoint, empty, isLate, nearest, widen } from '../../../services/gateway/web/functions/series.js'
import { csv } from '../../../services/gateway/web/functions/csv.js'

const alike = [
  ['loss', 'lоss'],
  ['train/loss', 'trаin/loss'],
  ['acc 1', 'acc  1'],
  ['acc 1', 'acc\u00a01'],
  ['loss', 'lo\u200bss'],
  ['loss', 'ｌｏｓｓ'],
  ['top1', 'topl'],
  ['Ο', '0'],
  ['Ａ', 'А'],
  ['a-b', 'a‐b'],
  ['می‌شود', 'میشود'],
  ['ab', '\u202eab'],
  ['Å', '\u212b'],
]
const apart = [
  ['loss', 'Loss'],
  ['acc@1', 'acc_1'],
  ['损失', '精度'],
  ['größe', 'grüße'],
  ['x<1', 'x>1'],
  ['a/b', 'a_b'],
  ['👩‍🚀', '👨‍🚀'],
]

test('names that look the same find each other', () => {
  for (const [one, other] of alike) {
    assert.equal(skeleton(one), skeleton(other), `${one} ${other}`)
    assert.ok(mayLookAlike([one, other]))
    assert.deepEqual([...lookAlikes([one, other, 'something else']).keys()], [one, other])
  }
  for (const [one, other] of apart) assert.equal(lookAlikes([one, other]).size, 0, `${one} ${other}`)
})

test('what cannot be seen is shown as its code point, an emoji as it is', () => {
  assert.equal(spelled('lo\u200bss'), 'lo⟨U+200B⟩ss')
  assert.equal(spelled('\u202eloss'), '⟨U+202E⟩loss')
  assert.equal(spelled('a\u00a0b c'), 'a⟨U+00A0⟩b c')
  assert.equal(spelled('👩‍🚀 ❤️ 损失'), '👩‍🚀 ❤️ 损失')
  assert.deepEqual(piecesOf('a\u200cb', true), [
    { text: 'a', code: '' },
    { text: 'U+200C', code: 'U+200C' },
    { text: 'b', code: '' },
  ])
})

test('a difference is said in code points', () => {
  assert.equal(difference('loss', 'lоss'), 'U+006F here, U+043E there')
  assert.deepEqual(lookAlikes(['loss', 'lo\u200bss']).get('loss'), ['lo⟨U+200B⟩ss: nothing here, U+200B there'])
  assert.ok(!mayLookAlike(['loss', 'Loss', 'acc@1', 'acc_1', 'val loss']))
  assert.equal(difference('loss', 'lo\u200bss'), 'nothing here, U+200B there')
})

test('names of things that every object has are names like others', () => {
  assert.equal(titleOf('constructor'), 'Constructor')
  assert.deepEqual(
    groupKeys(['constructor/x', '__proto__/x', 'eval/y'], []).map(({ name }) => name),
    ['Evaluation', '__proto__', 'Constructor'],
  )
})

test('of several values at one step the newest is the one that is found', () => {
  const series = empty('p', 'k')
  for (const [step, value] of [
    [1, 5],
    [2, 4],
    [2, 3],
    [2, 2],
    [3, 1],
  ])
    addPoint(series, step, value, step * 10, 1)
  assert.equal(series.lasts[nearest(series, 2)], 2)
  assert.equal(nearestIndex([1, 2, 2, 2, 3], 2.1), 3)
  assert.deepEqual(
    [isLate(series, 2, 99), isLate(series, 3, 29), isLate(series, 3, 30), isLate(series, 4, 0)],
    [true, true, false, false],
  )
})

test('more values at one step than are drawn are one bucket, whose last is the newest', () => {
  let series = empty('p', 'k')
  for (let i = 0; i < 25; i += 1) {
    addPoint(series, 0, i, i, 1)
    series = widen(series, 10)
  }
  assert.deepEqual([series.firstSteps, series.lasts, series.counts, series.raw], [[0], [24], [25], false])
})

test('a name in a CSV file is quoted', () => {
  const series = empty('p', 'a,"b"')
  addPoint(series, 1, 2, 3, 1)
  assert.match(csv([series]), /\np,"a,""b""",1,/)
})
