import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lastWords } from '../../../services/gateway/web/functions/failure.js'

const lines = (...texts) => texts.map((text) => ({ text, stream: 'STDERR' }))

test('a failed run shows its last traceback, without what came after and what we say ourselves', () => {
  const log = [
    ...lines(
      'Traceback (most recent call last):',
      '  File "a.py"',
      'KeyError: 1',
      'tried again',
      'Traceback (most recent call last):',
      '  File "b.py", line 3',
      '    x',
      '\u001b[31mValueError: NaN\u001b[0m',
      'bye',
    ),
    { text: 'step 3 loss NaN', stream: 'MILEPOST' },
  ]
  assert.deepEqual(lastWords(log), [
    'Traceback (most recent call last):',
    '  File "b.py", line 3',
    '    x',
    'ValueError: NaN',
  ])
})

test('without a traceback the last lines of the program are shown', () => {
  const words = lastWords(lines(...Array.from({ length: 30 }, (_, i) => `line ${i}`)))
  assert.equal(words.length, 12)
  assert.equal(words.at(-1), 'line 29')
  assert.deepEqual(lastWords([]), [])
})

test('of a very long traceback the ends are shown', () => {
  const words = lastWords(
    lines(
      'Traceback (most recent call last):',
      ...Array.from({ length: 500 }, (_, i) => `  frame ${i}`),
      'RecursionError',
    ),
  )
  assert.equal(words.length, 42)
  assert.deepEqual([words[0], words.at(-1)], ['Traceback (most recent call last):', 'RecursionError'])
})
