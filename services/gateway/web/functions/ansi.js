// @ts-check
// Text with ANSI colours as pieces of text with class names. Everything that is not a colour is dropped. Pure.

/** @typedef {{ text: string, className: string }} Piece */
/** @typedef {{ colour: string, bold: boolean, dim: boolean, italic: boolean, underline: boolean }} Look */

const escapes =
  /\u001b\[([0-9;?]*)([A-Za-z])|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)|\u001b[()][A-Za-z0-9]|\u001b[=>78cDEHM]/g
/** @type {('bold' | 'dim' | 'italic' | 'underline')[]} */
const looks = ['bold', 'dim', 'italic', 'underline']
const names = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white']

/**
 * [{text, className}]
 *
 * @param {string} text
 * @returns {Piece[]}
 */
export function pieces(text) {
  if (!text.includes('\u001b')) return [{ text, className: '' }]
  /** @type {Piece[]} */
  const found = []
  const state = { colour: '', bold: false, dim: false, italic: false, underline: false }
  let from = 0
  for (const match of text.matchAll(escapes)) {
    push(found, text.slice(from, match.index), state)
    from = match.index + match[0].length
    if (match[2] === 'm') apply(state, match[1])
  }
  push(found, text.slice(from), state)
  return found
}

/**
 * The text alone.
 *
 * @param {string} text
 */
export function plain(text) {
  return text.includes('\u001b') ? text.replace(escapes, '') : text
}

/**
 * @param {Piece[]} found
 * @param {string} text
 * @param {Look} state
 */
function push(found, text, state) {
  if (text === '') return
  const classes = []
  if (state.colour) classes.push(`ansi-${state.colour}`)
  for (const name of looks) if (state[name]) classes.push(`ansi-${name}`)
  found.push({ text, className: classes.join(' ') })
}

/**
 * @param {Look} state
 * @param {string} parameters
 */
function apply(state, parameters) {
  const codes = parameters === '' ? [0] : parameters.split(';').map(Number)
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i]
    if (code === 0) Object.assign(state, { colour: '', bold: false, dim: false, italic: false, underline: false })
    else if (code === 1) state.bold = true
    else if (code === 2) state.dim = true
    else if (code === 3) state.italic = true
    else if (code === 4) state.underline = true
    else if (code === 22) state.bold = state.dim = false
    else if (code === 23) state.italic = false
    else if (code === 24) state.underline = false
    else if (code >= 30 && code <= 37) state.colour = names[code - 30]
    else if (code >= 90 && code <= 97) state.colour = names[code - 90]
    else if (code === 39) state.colour = ''
    else if (code === 38 || code === 48) {
      if (code === 38 && codes[i + 1] === 5 && codes[i + 2] < 16) state.colour = names[codes[i + 2] % 8]
      i += codes[i + 1] === 5 ? 2 : 4
    }
  }
}
