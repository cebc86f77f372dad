// @ts-check
// Nothing to show: what it means, and the exact command to run next.
import { html } from '../html.js'
import { Copy } from './button.js'

/** @import { ComponentChildren } from '../vendor/preact.js' */

/** @param {{ title: string, children?: ComponentChildren, command?: string }} properties */
export function Empty({ title, children, command }) {
  return html`<div class="empty">
    <p class="empty-title">${title}</p>
    ${children && html`<p>${children}</p>`}
    ${
      command &&
      html`<p class="command"><code>${command}</code><${Copy} text=${command} title="Copy the command" /></p>`
    }
  </div>`
}
