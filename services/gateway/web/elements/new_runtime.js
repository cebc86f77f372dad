// @ts-check
// The form for a new runtime, and the same thing as a command and as a call.
import { session } from '../state/session.js'
import { html, useSignal } from '../html.js'
import { post, requestId } from '../api.js'
import { leftOut, yaml } from '../functions/configuration.js'
import { configurationOf, groups, violationsOf } from '../functions/schema.js'
import { navigate } from '../state/location.js'
import { Choice, Copy } from './button.js'
import { Dialog, Problem } from './dialog.js'
import { Icon } from './icon.js'

/**
 * @import { Violation } from '../api.js'
 * @import { Field, FieldGroup } from '../functions/schema.js'
 * @import { Signal } from '../vendor/signals.js'
 */
/** @typedef {(path: string, value: string) => void} Change */

const beginning = {
  name: 'pydoc-lm',
  entrypoint: 'milepost.recipes.language_model:train',
  parameters: 'epochs = 3\nlearning_rate = 0.003',
  launcher: 'local',
  'snapshots.every_steps': '200',
}
const ways = [
  ['form', 'Form'],
  ['yaml', 'YAML'],
]
const same = [
  ['yaml', 'Configuration'],
  ['cli', 'Command line'],
  ['grpc', 'gRPC'],
]

/** @param {{ onClose: () => void }} properties */
export function NewRuntime({ onClose }) {
  /** @type {Signal<Record<string, string>>} */
  const typed = useSignal(beginning)
  const way = useSignal('form')
  const text = useSignal('')
  const busy = useSignal('')
  /** @type {Signal<(Error & { violations?: Violation[] }) | null>} */
  const error = useSignal(null)
  /** @type {Signal<Api.Runtime | null>} */
  const resolved = useSignal(null)
  const id = useSignal(requestId())
  const configuration = () => (way.value === 'yaml' ? text.value : yaml(configurationOf(typed.value)))
  /** @param {boolean} validateOnly */
  const send = async (validateOnly) => {
    busy.value = validateOnly ? 'validate' : 'start'
    error.value = null
    resolved.value = null
    try {
      const answer = await post('/runtimes', {
        configuration_text: configuration(),
        validate_only: validateOnly,
        request_id: validateOnly ? undefined : id.value,
      })
      if (validateOnly) resolved.value = answer.runtime
      else navigate(`/runtimes/${answer.runtime?.runtime_id}`)
    } catch (failure) {
      error.value = failure
      id.value = requestId()
    } finally {
      busy.value = ''
    }
  }
  /** @param {string} next */
  const switchTo = (next) => {
    if (next === 'yaml') text.value = yaml(configurationOf(typed.value))
    way.value = next
  }
  /**
   * @param {string} path
   * @param {string} value
   */
  const change = (path, value) => {
    typed.value = { ...typed.value, [path]: value }
    resolved.value = null
  }
  return html`<${Dialog} title="New runtime" onClose=${onClose} wide>
    <form class="new-runtime" onSubmit=${(event) => (event.preventDefault(), send(false))}>
      <div class="new-left">
        <${Choice} label="As" value=${way.value} choices=${ways} onChange=${switchTo} />
        ${
          way.value === 'form'
            ? groups.map(
                (group) =>
                  html`<${Group}
                    key=${group.title}
                    group=${group}
                    typed=${typed.value}
                    change=${change}
                    violations=${error.value?.violations}
                  />`,
              )
            : html`<label class="field">
              <span>Configuration, YAML or JSON</span>
              <textarea
                class="code"
                rows="24"
                spellcheck="false"
                value=${text.value}
                onInput=${(event) => (text.value = event.target.value)}
              ></textarea>
            </label>`
        }
      </div>
      <div class="new-right"><${SameThing} text=${configuration()} resolved=${resolved.value} /></div>
      <div class="new-foot">
        <${Problem} error=${error.value} />
        ${
          resolved.value &&
          html`<p class="valid" role="status">
            <${Icon} name="completed" size=${14} /> Valid. Nothing was started yet; every default is filled in on the
            right.
          </p>`
        }
        ${
          leftOut(resolved.value) &&
          html`<p class="bad" role="status" data-testid="left-out">${leftOut(resolved.value)}</p>`
        }
        <footer>
          <button type="button" class="button" onClick=${onClose}>Cancel</button>
          <button type="button" class="button" disabled=${busy.value !== ''} onClick=${() => send(true)}>
            ${busy.value === 'validate' ? 'Validating…' : 'Validate'}
          </button>
          <button type="submit" class="button primary" disabled=${busy.value !== ''}>
            ${busy.value === 'start' ? 'Starting…' : 'Start'}
          </button>
        </footer>
      </div>
    </form>
  <//>`
}

/**
 * @param {{
 *   group: FieldGroup,
 *   typed: Record<string, string>,
 *   change: Change,
 *   violations: Violation[] | undefined,
 * }} properties
 */
function Group({ group, typed, change, violations }) {
  const wrong = group.fields.some((field) => violationsOf(violations, field.path).length > 0)
  return html`<details class="form-group" open=${group.open || wrong}>
    <summary>${group.title}</summary>
    <div class="form-fields">
      ${group.fields.map(
        (field) => html`<${Field}
          key=${field.path}
          field=${field}
          value=${typed[field.path] ?? ''}
          change=${change}
          wrong=${violationsOf(violations, field.path)}
        />`,
      )}
    </div>
  </details>`
}

/** @param {{ field: Field, value: string, change: Change, wrong: Violation[] }} properties */
function Field({ field, value, change, wrong }) {
  /** @param {Happening<HTMLInputElement>} event */
  const onInput = (event) => change(field.path, event.target.value)
  const rows = field.path === 'parameters' ? 4 : 2
  const many = ['pairs', 'lists', 'objects'].includes(field.kind)
  /** @param {Violation} one */
  const said = (one) => (field.kind === 'objects' ? `${one.field} ${one.description}` : one.description)
  const hintId = `hint-${field.path}`
  const attributes = { 'aria-describedby': hintId, 'aria-invalid': wrong.length > 0, name: field.path, onInput }
  return html`<label class="field ${many || field.whole ? 'whole' : ''}">
    <span>${field.label}</span>
    ${
      many
        ? html`<textarea rows=${rows} spellcheck="false" value=${value} ...${attributes}></textarea>`
        : field.kind === 'choice'
          ? html`<select value=${value} ...${attributes}>
            ${field.choices?.map((choice) => html`<option value=${choice}>${choice || '–'}</option>`)}
          </select>`
          : html`<input
            type="text"
            inputmode=${field.kind === 'text' ? undefined : 'decimal'}
            spellcheck="false"
            required=${field.required}
            value=${value}
            ...${attributes}
          />`
    }
    <small id=${hintId}>
      ${wrong.length > 0 ? html`<span class="bad">${wrong.map(said).join('; ')}</span>` : field.hint}
    </small>
  </label>`
}

/** @param {{ text: string, resolved: Api.Runtime | null }} properties */
function SameThing({ text, resolved }) {
  const shown = useSignal('yaml')
  /** @type {Record<string, string>} */
  const texts = {
    yaml: text,
    cli: `cat > runtime.yaml <<'END'\n${text}END\nmilepost runtime start runtime.yaml`,
    grpc: [
      `grpcurl -plaintext -d @ ${session.value?.grpc_address || 'HOST:8471'} \\`,
      "  milepost.api.runtime.v1.RuntimeService/StartRuntime <<'END'",
      JSON.stringify({ configuration_text: text }, null, 2),
      'END',
    ].join('\n'),
  }
  return html`<div class="same-thing">
    <div class="same-head">
      <${Choice} label="The same as" value=${shown.value} choices=${same} onChange=${(next) => (shown.value = next)} />
      <${Copy} text=${texts[shown.value]} label="Copy" />
    </div>
    <pre tabindex="0">${texts[shown.value]}</pre>
    ${
      resolved &&
      html`
        <div class="same-head"><h3>As resolved</h3><${Copy} text=${resolved.resolved_text} label="Copy" /></div>
        <pre tabindex="0" class="resolved">${resolved.resolved_text}</pre>
      `
    }
  </div>`
}
