// @ts-check
// Texts that models write: what of them cannot be seen is shown, and what differs between two is marked. Pure.

/** @typedef {{ text: string, odd: boolean }} Piece */
/** @typedef {{ text: string, change: '' | 'added' | 'removed' }} Change */

// What reorders, hides or moves what stands around it: controls, marks and embeddings of direction, characters without
// width, variation selectors, tags. Line feeds and tabs are shown by what they do.
const odd = new RegExp(
  '[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5' +
    '\\u180b-\\u180f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0f\\ufeff\\uffa0' +
    '\\ufff0-\\ufffb\\u{e0000}-\\u{e0fff}]',
  'gu',
)
// Joiners and variation selectors that belong to an emoji, or to a script whose letters they shape.
const joiners = /[\u200c\u200d\ufe0f]/
const joined =
  /(?:[\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f]|(?![\p{sc=Latin}\p{sc=Greek}\p{sc=Cyrillic}])[\p{L}\p{M}])$/u
/** Words compared at most; more is compared as it begins. */
const mostWords = 3000

/**
 * Cut a text into what is shown as it is, and characters that are shown by their number.
 *
 * @param {string} text
 * @returns {Piece[]}
 */
export function visible(text) {
  const pieces = []
  let at = 0
  for (const match of text.matchAll(odd)) {
    if (joiners.test(match[0]) && joined.test(text.slice(Math.max(0, match.index - 2), match.index))) continue
    if (match.index > at) pieces.push({ text: text.slice(at, match.index), odd: false })
    const number = /** @type {number} */ (match[0].codePointAt(0))
    pieces.push({ text: `U+${number.toString(16).toUpperCase().padStart(4, '0')}`, odd: true })
    at = match.index + match[0].length
  }
  if (at < text.length) pieces.push({ text: text.slice(at), odd: false })
  return pieces
}

/** @param {string} text */
const words = (text) => text.match(/\s+|[\p{L}\p{N}_]+|./gsu) ?? []

/**
 * What was removed from a text and added to it, word by word, in reading order.
 *
 * @param {string} before
 * @param {string} after
 * @returns {Change[]}
 */
export function difference(before, after) {
  const [a, b] = [words(before), words(after)]
  let head = 0
  while (head < a.length && head < b.length && a[head] === b[head]) head++
  let tail = 0
  while (tail < a.length - head && tail < b.length - head && a.at(-1 - tail) === b.at(-1 - tail)) tail++
  /** @type {Change[]} */
  const found = []
  /** @param {Change['change']} change @param {string} text */
  const add = (change, text) => {
    const last = found.at(-1)
    if (last?.change === change) last.text += text
    else if (text) found.push({ text, change })
  }
  add('', a.slice(0, head).join(''))
  const [removed, added] = [a.slice(head, a.length - tail), b.slice(head, b.length - tail)]
  if (removed.length * added.length > mostWords * mostWords) {
    add('removed', removed.join(''))
    add('added', added.join(''))
  } else {
    for (const [change, text] of aligned(removed, added)) add(change, text)
  }
  add('', tail ? a.slice(-tail).join('') : '')
  return found
}

/**
 * The longest common subsequence of two lists of words, with what is around it.
 *
 * @param {string[]} a
 * @param {string[]} b
 * @returns {[Change['change'], string][]}
 */
function aligned(a, b) {
  const width = b.length + 1
  const longest = new Uint16Array((a.length + 1) * width)
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      longest[i * width + j] =
        a[i] === b[j]
          ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1])
  /** @type {[Change['change'], string][]} */
  const found = []
  let [i, j] = [0, 0]
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      found.push(['', a[i]])
      i++
      j++
    } else if (j === b.length || (i < a.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1]))
      found.push(['removed', a[i++]])
    else found.push(['added', b[j++]])
  }
  return found
}
