// @ts-check
// A dialog: the browser's own, opened as long as it is in the tree. Esc closes it.
import { html, useEffect, useRef } from '../html.js'
import { Icon } from './icon.js'

/**
 * @import { Violation } from '../api.js'
 * @import { ComponentChildren, RefObject } from '../vendor/preact.js'
 */

/** @param {{ title: string, onClose: () => void, wide?: boolean, children: ComponentChildren }} properties */
export function Dialog({ title, onClose, wide, children }) {
  /** @type {RefObject<HTMLDialogElement | null>} */
  const element = useRef(null)
  useEffect(() => {
    const dialog = /** @type {HTMLDialogElement} */ (element.current)
    const before = document.activeElement
    dialog.showModal()
    // Not the button that closes it, which comes first in the document.
    /**
     * @param {string} what
     * @returns {HTMLElement | null}
     */
    const first = (what) => dialog.querySelector(`.dialog-body :is(${what})`)
    ;(first('input, select, textarea') ?? first('button'))?.focus()
    return () => {
      dialog.close()
      if (before instanceof HTMLElement) before.focus()
    }
  }, [])
  /** @param {MouseEvent} event */
  const onBackdrop = (event) => event.target === element.current && onClose()
  return html`<dialog
    ref=${element}
    class=${wide ? 'wide' : ''}
    aria-label=${title}
    onCancel=${(event) => {
      event.preventDefault()
      onClose()
    }}
    onMouseDown=${onBackdrop}
  >
    <div class="dialog-box">
      <header>
        <h2>${title}</h2>
        <button type="button" class="quiet" onClick=${onClose} aria-label="Close"><${Icon} name="close" /></button>
      </header>
      <div class="dialog-body">${children}</div>
    </div>
  </dialog>`
}

/**
 * The server's words, with every violation.
 *
 * @param {{ error: (Error & { violations?: Violation[] }) | null }} properties
 */
export function Problem({ error }) {
  if (!error) return null
  return html`<div class="problem" role="alert">
    <${Icon} name="warning" />
    <div>
      <p>${error.message}</p>
      ${
        error.violations &&
        error.violations.length > 0 &&
        html`<ul>
          ${error.violations.map((one) => html`<li><code>${one.field}</code> ${one.description}</li>`)}
        </ul>`
      }
    </div>
  </div>`
}
