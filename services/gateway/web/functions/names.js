// @ts-check
// Names of series as people see them: what cannot be seen is shown as its code point. Pure.

// Signs that join letters or choose the look of an emoji have their place in words.
const joining = /[\u200c\u200d\ufe0e\ufe0f]/u
const hidden = /\p{Default_Ignorable_Code_Point}|\p{Cf}|\p{Cc}|\p{Zl}|\p{Zp}|(?! )\p{Zs}|\p{Co}|\p{Cn}/u

/**
 * "U+200B" of a sign that cannot be seen; otherwise nothing. `joined`: also of those that join others.
 *
 * @param {string} sign
 * @param {boolean} [joined]
 */
export function unseen(sign, joined = false) {
  return hidden.test(sign) && (joined || !joining.test(sign)) ? codePoint(sign) : ''
}

/** @param {string} sign */
export function codePoint(sign) {
  return `U+${(sign.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`
}

/**
 * A name in pieces: [{text, code}], where `code` is set for a sign that cannot be seen, and `text` is that code.
 *
 * @param {string} name
 * @param {boolean} [joined]
 */
export function piecesOf(name, joined = false) {
  /** @type {{ text: string, code: string }[]} */
  const pieces = []
  for (const sign of name) {
    const code = unseen(sign, joined)
    const last = pieces.at(-1)
    if (!code && last && !last.code) last.text += sign
    else pieces.push({ text: code || sign, code })
  }
  return pieces
}

/**
 * The same as one text: "loss⟨U+200B⟩".
 *
 * @param {string} name
 */
export function spelled(name) {
  return piecesOf(name)
    .map(({ text, code }) => (code ? `⟨${text}⟩` : text))
    .join('')
}

/**
 * Whether some of these names may look alike, so that it is worth to load what can tell.
 *
 * @param {string[]} names
 */
export function mayLookAlike(names) {
  const seen = names.map((name) =>
    /^[!-~]+( [!-~]+)*$/.test(name) ? name.replace(/[1I|]/g, 'l').replaceAll('0', 'O') : '',
  )
  return seen.includes('') || new Set(seen).size < names.length
}
