// @ts-check
// The end of a log that tells why a run failed. Pure.
import { plain } from './ansi.js'

const linesWithoutTraceback = 12
const linesOfTraceback = 40

/**
 * Texts of the last traceback among lines, oldest first; without one the last lines that the program wrote itself.
 *
 * @param {Api.LogEntry[]} lines
 */
export function lastWords(lines) {
  const own = lines.filter((line) => line.stream !== 'MILEPOST').flatMap((line) => plain(line.text ?? '').split('\n'))
  const start = own.findLastIndex((text) => /^\s*Traceback \(most recent call last\)/.test(text))
  if (start === -1) return own.slice(-linesWithoutTraceback)
  const end = own.findIndex((text, i) => i > start && /^\S/.test(text))
  const whole = own.slice(start, end === -1 ? own.length : end + 1)
  return whole.length <= linesOfTraceback ? whole : [whole[0], '  …', ...whole.slice(-linesOfTraceback)]
}
