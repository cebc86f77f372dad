// @ts-check
// The dialog that changes values of a trial while it trains.
import { html, useSignal } from '../html.js'
import { post } from '../api.js'
import { Footer, useCommand } from './commands.js'
import { Dialog } from './dialog.js'

/** @import { Signal } from '../vendor/signals.js' */
/** @import { OnDone } from './commands.js' */

/**
 * @param {{
 *   runtime: Api.Runtime,
 *   trial: number,
 *   steerables: Api.Steerable[],
 *   onClose: () => void,
 *   onDone?: OnDone,
 * }} properties
 */
export function SteerDialog({ runtime, trial, steerables, onClose, onDone = () => {} }) {
  /** @type {Signal<Record<string, string>>} What is to be other, by name; as it is written. */
  const wanted = useSignal({})
  const reason = useSignal('')
  const command = useCommand((answer) => {
    onDone(answer.runtime)
    onClose()
  })
  const given = Object.entries(wanted.value).filter(([, text]) => text !== '')
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault()
    const lines = given.map(([name, text]) => `${JSON.stringify(name)}: ${written(steerables, name, text)}`)
    command.run((id) =>
      post(`/runtimes/${runtime.runtime_id}/trials/${trial}:steer`, {
        parameters_text: lines.join('\n'),
        reason: reason.value,
        request_id: id,
      }),
    )
  }
  return html`<${Dialog} title=${`Steer ${runtime.display_name}`} onClose=${onClose}>
    <form onSubmit=${submit} class="dialog-form">
      <p>
        Changed after a step that all ranks agree on, or as soon as the trial goes on. What is left empty stays.
      </p>
      ${steerables.map(
        (one) => html`<label class="field" key=${one.name}>
          <span>${one.name} <span class="faint">${aside(one)}</span></span>
          <${Field}
            one=${one}
            text=${wanted.value[one.name] ?? ''}
            onText=${(/** @type {string} */ text) => (wanted.value = { ...wanted.value, [one.name]: text })}
          />
        </label>`,
      )}
      <label class="field">
        <span>Reason, for the log (optional)</span>
        <input
          type="text"
          maxlength="500"
          value=${reason.value}
          onInput=${(event) => (reason.value = event.target.value)}
        />
      </label>
      <${Footer}
        onClose=${onClose}
        command=${command}
        label="Change"
        working="Changing…"
        disabled=${given.length === 0}
      />
    </form>
  <//>`
}

/** @param {{ one: Api.Steerable, text: string, onText: (text: string) => void }} properties */
function Field({ one, text, onText }) {
  const choices = one.kind === 'BOOLEAN' ? ['true', 'false'] : (one.choices ?? [])
  if (choices.length)
    return html`<select value=${text} onChange=${(event) => onText(event.target.value)}>
      <option value="">as it is: ${now(one)}</option>
      ${choices.map((choice) => html`<option value=${choice}>${choice}</option>`)}
    </select>`
  return html`<input
    type="text"
    autocomplete="off"
    spellcheck="false"
    placeholder=${now(one)}
    value=${text}
    onInput=${(event) => onText(event.target.value)}
  />`
}

/** @param {Api.Steerable} one */
function now(one) {
  const text = one.steered_value || one.declared_value || ''
  return one.kind === 'TEXT' ? JSON.parse(text) : text
}

/**
 * Its bounds, and what was asked for and is still to come.
 *
 * @param {Api.Steerable} one
 */
function aside({ minimum, maximum, requested_value: requested }) {
  const bounds = [minimum && `from ${minimum}`, maximum && `to ${maximum}`].filter(Boolean).join(' ')
  return [bounds, requested && `${requested} is asked for`].filter(Boolean).join(', ')
}

/**
 * A value as YAML: what somebody has written for a text is one.
 *
 * @param {Api.Steerable[]} steerables
 * @param {string} name
 * @param {string} text
 */
function written(steerables, name, text) {
  return steerables.find((one) => one.name === name)?.kind === 'TEXT' ? JSON.stringify(text) : text
}
