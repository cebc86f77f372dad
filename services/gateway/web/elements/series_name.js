// @ts-check
// The name of a series, told from those that look like it.
import { html, useEffect, useSignal } from '../html.js'
import { mayLookAlike, piecesOf } from '../functions/names.js'

/** @import { ReadonlySignal, Signal } from '../vendor/signals.js' */

/**
 * `alike`: what the name may be taken for.
 *
 * @param {{ name: string, alike?: string[] }} properties
 */
export function SeriesName({ name, alike }) {
  return html`
    <bdi>
      ${piecesOf(name, Boolean(alike)).map(({ text, code }) =>
        code ? html`<span class="unseen">${text}</span>` : text,
      )}
    </bdi>
    ${
      alike &&
      html`<span class="alike" title=${alike.map((text) => `Looks like ${text}`).join('\n')}> ≈ ${alike[0]}</span>`
    }
  `
}

/**
 * A signal of what names of a page look alike: name -> in words. `names` is the same list until it changes.
 *
 * @param {string[]} names
 * @returns {ReadonlySignal<Map<string, string[]>>}
 */
export function useLookAlikes(names) {
  /** @type {Signal<Map<string, string[]>>} */
  const alike = useSignal(new Map())
  useEffect(() => {
    let current = true
    if (mayLookAlike(names))
      import('../functions/alike.js').then(({ lookAlikes }) => current && (alike.value = lookAlikes(names)))
    else alike.value = new Map()
    return () => (current = false)
  }, [names])
  return alike
}
