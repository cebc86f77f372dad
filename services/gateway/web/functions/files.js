// @ts-check
// Names of files that are saved. Pure.

/**
 * A file name of a run's name: letters, digits and dashes.
 *
 * @param {string} name
 * @param {string} rest
 */
export function fileName(name, rest) {
  /** @param {string} text */
  const clean = (text) =>
    text
      .normalize('NFC')
      .replace(/[^\p{L}\p{N}._-]+/gu, '-')
      .replace(/^-+|-+$/g, '')
  return [clean(name), clean(rest)].filter(Boolean).join('-')
}
