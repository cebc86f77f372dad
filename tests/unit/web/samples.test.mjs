import assert from 'node:assert/strict'
import { test } from 'node:test'
import { difference, visible } from '../../../services/gateway/web/functions/texts.js'

const shown = (text) =>
  visible(text)
    .map((piece) => (piece.odd ? `[${piece.text}]` : piece.text))
    .join('')

test('what reorders, hides or moves text is shown by its number', () => {
  assert.equal(shown('a\u202eb\u0000c\u200bd\x1b[31m\r\n\te'), 'a[U+202E]b[U+0000]c[U+200B]d[U+001B][31m[U+000D]\n\te')
  assert.equal(shown('\u{e0041}\ufeff\u2066x\u00ad'), '[U+E0041][U+FEFF][U+2066]x[U+00AD]')
  assert.equal(shown('plain <b>text</b> \u00fc \u05d0'), 'plain <b>text</b> \u00fc \u05d0')
  assert.deepEqual(visible(''), [])
})

test('what joins emoji and letters of other scripts is no oddity', () => {
  for (const text of ['\u2764\ufe0f', '\u{1f469}\u200d\u{1f680}', '\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645'])
    assert.equal(shown(text), text)
  assert.equal(shown('pass\u200cword'), 'pass[U+200C]word')
})

test('words that changed are marked, and both texts can be read from the difference', () => {
  const changes = difference('The quick brown fox.', 'The slow brown dog, again.')
  assert.deepEqual(
    changes.map(({ text, change }) => (change === 'added' ? `+${text}` : change === 'removed' ? `-${text}` : text)),
    ['The ', '-quick', '+slow', ' brown ', '-fox', '+dog, again', '.'],
  )
  const words = 'a b c d e f'.split(' ')
  const random = (seed) =>
    Array.from({ length: 40 }, (_, i) => words[(seed * 7919 + i * i * 31 + (i ^ seed)) % 6]).join(' ')
  for (let seed = 0; seed < 50; seed++) {
    const [before, after] = [random(seed), random(seed + 1)]
    const found = difference(before, after)
    const without = (kind) =>
      found
        .filter((one) => one.change !== kind)
        .map((one) => one.text)
        .join('')
    assert.equal(without('added'), before)
    assert.equal(without('removed'), after)
  }
  assert.deepEqual(difference('', ''), [])
  assert.equal(difference('x '.repeat(9000), 'y '.repeat(9000)).length <= 4, true)
})
