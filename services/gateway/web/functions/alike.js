// @ts-check
// Which names of series look alike. Loaded where it matters: most names are plain ASCII. Pure.
import { codePoint, unseen, spelled } from './names.js'

// Letters and signs of other scripts that look like the Latin ones under them, after compatibility forms are gone.
/** @type {Map<string, string>} */
const twins = new Map()
for (const [latin, others] of [
  ['a', 'аα'],
  ['b', 'Ьƅ'],
  ['c', 'с'],
  ['d', 'ԁ'],
  ['e', 'еє'],
  ['g', 'ɡ'],
  ['h', 'һ'],
  ['i', 'іι'],
  ['j', 'јϳ'],
  ['o', 'оοσօ'],
  ['p', 'рρ'],
  ['q', 'ԛ'],
  ['s', 'ѕ'],
  ['u', 'υս'],
  ['v', 'νѵ'],
  ['w', 'ԝ'],
  ['x', 'хχ'],
  ['y', 'уγ'],
  ['A', 'АΑ'],
  ['B', 'ВΒ'],
  ['C', 'СϹ'],
  ['E', 'ЕΕ'],
  ['H', 'НΗ'],
  ['J', 'Ј'],
  ['K', 'КΚ'],
  ['M', 'МΜ'],
  ['N', 'Ν'],
  ['P', 'РΡ'],
  ['S', 'Ѕ'],
  ['T', 'ТΤ'],
  ['X', 'ХΧ'],
  ['Y', 'УΥ'],
  ['Z', 'Ζ'],
  ['l', '1I|ІΙӀ∣ǀ'],
  ['O', '0ОΟ'],
  ['-', '‐‑‒–—−'],
  ['/', '∕⁄╱'],
  ["'", '‘’`´ʹ'],
  ['"', '“”'],
  ['.', '․'],
  [',', '‚'],
  [':', '∶ː'],
  ['*', '∗'],
  ['~', '∼'],
  ['<', '‹'],
  ['>', '›'],
])
  for (const other of others) twins.set(other, latin)

/**
 * What one sees of a name: two names with the same skeleton may be taken for each other.
 *
 * @param {string} name
 */
export function skeleton(name) {
  let seen = ''
  for (const sign of name.normalize('NFKC')) {
    if (/\s/u.test(sign)) seen += ' '
    else if (!unseen(sign, true)) seen += twins.get(sign) ?? sign
  }
  return seen.replace(/ +/g, ' ').trim()
}

/**
 * name -> what it may be taken for, in words, for those that look like others.
 *
 * @param {Iterable<string>} names
 */
export function lookAlikes(names) {
  /** @type {Map<string, string[]>} */
  const groups = new Map()
  for (const name of new Set(names)) {
    const key = skeleton(name)
    groups.set(key, [...(groups.get(key) ?? []), name])
  }
  /** @type {Map<string, string[]>} */
  const found = new Map()
  for (const group of groups.values())
    if (group.length > 1)
      for (const name of group)
        found.set(
          name,
          group.filter((other) => other !== name).map((other) => `${spelled(other)}: ${difference(name, other)}`),
        )
  return found
}

/**
 * Where a name differs from one that looks like it, in code points: "U+0061 here, U+0430 there".
 *
 * @param {string} name
 * @param {string} other
 */
export function difference(name, other) {
  const [here, there] = [[...name], [...other]]
  let first = 0
  while (first < here.length && here[first] === there[first]) first += 1
  let end = 0
  while (end < Math.min(here.length, there.length) - first && here.at(-1 - end) === there.at(-1 - end)) end += 1
  /** @param {string[]} signs */
  const codes = (signs) =>
    signs
      .slice(first, signs.length - end)
      .slice(0, 4)
      .map(codePoint)
      .join(' ') || 'nothing'
  return `${codes(here)} here, ${codes(there)} there`
}
