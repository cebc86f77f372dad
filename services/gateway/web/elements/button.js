// @ts-check
// Buttons that do something: disabled while under way; what went wrong is said beside them.
import { html, useSignal } from '../html.js'
import { Icon } from './icon.js'

/**
 * `act` returns a promise. Errors are shown by whoever passes `onError`, else below the button.
 *
 * @param {{
 *   act: () => Promise<unknown>,
 *   icon?: string,
 *   label: string,
 *   working?: string,
 *   tone?: string,
 *   title?: string,
 *   disabled?: boolean,
 *   onError?: (error: Error) => void,
 * }} properties
 */
export function Action({ act, icon, label, working, tone = '', title, disabled, onError }) {
  const busy = useSignal(false)
  const failure = useSignal('')
  const run = async () => {
    busy.value = true
    failure.value = ''
    try {
      await act()
    } catch (error) {
      if (onError) onError(error)
      else failure.value = error.message
    } finally {
      busy.value = false
    }
  }
  return html`<span class="action">
    <button
      type="button"
      class="button ${tone}"
      onClick=${run}
      disabled=${disabled || busy.value}
      title=${title}
      aria-busy=${busy.value}
    >
      ${icon && html`<${Icon} name=${icon} />`}<span>${busy.value ? (working ?? label) : label}</span>
    </button>
    ${failure.value && html`<span class="said-error" role="alert">${failure.value}</span>`}
  </span>`
}

/**
 * A control with a few exclusive choices. `choices`: [[value, label, title]].
 *
 * @param {{ label: string, value: string, choices: string[][], onChange: (value: string) => void }} properties
 */
export function Choice({ label, value, choices, onChange }) {
  return html`<div class="choice" role="group" aria-label=${label}>
    ${choices.map(
      ([one, text, title]) =>
        html`<button
          type="button"
          key=${one}
          aria-pressed=${one === value}
          title=${title ?? text}
          onClick=${() => onChange(one)}
        >
          ${text}
        </button>`,
    )}
  </div>`
}

/**
 * A button that copies and says so.
 *
 * @param {{ text: string, label?: string, title?: string }} properties
 */
export function Copy({ text, label = '', title = 'Copy' }) {
  const done = useSignal(false)
  /** @param {Event} event */
  const copy = async (event) => {
    event.stopPropagation()
    await copyText(text)
    done.value = true
    setTimeout(() => (done.value = false), 1500)
  }
  return html`<button
    type="button"
    class="quiet copy"
    onClick=${copy}
    title=${title}
    aria-label=${label ? undefined : title}
  >
    <${Icon} name=${done.value ? 'completed' : 'copy'} size=${14} />
    ${label && html`<span>${done.value ? 'Copied' : label}</span>`}
  </button>`
}

/**
 * Puts text on the clipboard, also where the page is not in a secure context.
 *
 * @param {string} text
 */
export async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text)
    return
  }
  const area = document.createElement('textarea')
  area.value = text
  area.className = 'off-screen'
  document.body.append(area)
  area.select()
  document.execCommand('copy')
  area.remove()
}
