// @ts-check
// Where a search matches a text. Pure.

/** @typedef {[from: number, to: number]} Mark */

/**
 * A function of text -> [[from, to]], for a plain text (case ignored) or a regular expression.
 *
 * @param {string} text
 * @param {string} expression
 * @returns {(line: string) => Mark[]}
 */
export function matcher(text, expression) {
  /** @type {RegExp | undefined} */
  let pattern
  try {
    if (expression) pattern = new RegExp(expression, 'g')
    else if (text) pattern = new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'), 'gi')
  } catch {
    // The server reads RE2, which is not quite what a browser reads; then nothing is marked.
  }
  if (!pattern) return () => []
  /** @param {string} line */
  return (line) => {
    /** @type {Mark[]} */
    const found = []
    for (const match of line.matchAll(pattern)) {
      if (match[0].length > 0) found.push([match.index, match.index + match[0].length])
      if (found.length >= 50) break
    }
    return found
  }
}

/**
 * Text cut at the marks: [{text, marked}].
 *
 * @param {string} text
 * @param {Mark[]} marks
 */
export function cut(text, marks) {
  const parts = []
  let at = 0
  for (const [from, to] of marks) {
    if (from > at) parts.push({ text: text.slice(at, from), marked: false })
    parts.push({ text: text.slice(from, to), marked: true })
    at = to
  }
  if (at < text.length) parts.push({ text: text.slice(at), marked: false })
  return parts
}
