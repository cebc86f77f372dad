// @ts-check
// What happened: every fact of the runtime, newest first, with what is behind it.
import { html, useSignal } from '../html.js'
import { causeChain, fold, payload, rankOf, reasonOf, stepOf, typeTitle } from '../functions/events.js'
import { count, title, words } from '../functions/format.js'
import { parameter, setParameters } from '../state/location.js'
import { useKeys } from '../state/keyboard.js'
import { Action, Choice, Copy } from './button.js'
import { Empty } from './empty.js'
import { At } from './live_time.js'
import { toCharts } from './sight.js'
import { Tag } from './status.js'

/**
 * @import { Folded } from '../functions/events.js'
 * @import { RuntimeState } from '../state/runtime.js'
 */

const categories = [
  'LIFECYCLE',
  'SCHEDULING',
  'HEALTH',
  'READINESS',
  'SNAPSHOT',
  'EVALUATION',
  'CONFIGURATION',
  'ACCESS',
  // No category of the log: what rules found, and who was told.
  'RULES',
]
const scopes = [
  ['', 'All'],
  ['INSTANCE', 'Instance'],
  ['DEPLOYMENT', 'Deployment'],
]
const severities = { INFO: 'info', WARNING: 'warning', CRITICAL: 'bad' }
const bad = /failed|fenced|alert|dropped|retry/

/** @param {{ state: RuntimeState }} properties */
export function Events({ state }) {
  const scope = parameter('scope')
  const chosen = parameter('category').split(',').filter(Boolean)
  const open = parameter('event')
  const all = state.events.value
  const shown = all.filter(
    (event) =>
      (!scope || event.scope === scope) &&
      (chosen.length === 0 || categoriesOf(event).some((category) => chosen.includes(category))),
  )
  const folded = fold(shown)
  const present = categories.filter(
    (category) => all.some((event) => categoriesOf(event).includes(category)) || chosen.includes(category),
  )
  /** @param {string} category */
  const toggle = (category) =>
    setParameters({
      category: (chosen.includes(category) ? chosen.filter((one) => one !== category) : [...chosen, category]).join(
        ',',
      ),
    })
  return html`<div class="events">
    <div class="events-bar">
      <${Choice}
        label="Scope"
        value=${scope}
        choices=${scopes}
        onChange=${(value) => setParameters({ scope: value })}
      />
      <span class="facet" role="group" aria-label="Category">
        ${present.map(
          (category) => html`<button
            type="button"
            class="chip"
            key=${category}
            aria-pressed=${chosen.includes(category)}
            onClick=${() => toggle(category)}
          >
            ${words(category)}
          </button>`,
        )}
      </span>
    </div>
    ${folded.length === 0 && html`<${Empty} title=${all.length > 0 ? 'No event matches' : 'No events yet'} />`}
    <${EventList} folded=${folded} all=${all} open=${open} state=${state} />
    ${
      state.eventsNext.value &&
      html`<${Action} act=${() => state.loadEvents(true)} label="Older events" working="Loading…" />`
    }
  </div>`
}

/** @param {{ folded: Folded[], all: Api.RecordedEvent[], open: string, state: RuntimeState }} properties */
function EventList({ folded, all, open, state }) {
  const focus = useSignal(-1)
  /** @param {number} by */
  const move = (by) => {
    focus.value = Math.min(folded.length - 1, Math.max(0, focus.value + by))
    document.getElementById(`event-${folded[focus.value]?.event.sequence}`)?.focus()
  }
  useKeys({ j: () => move(1), k: () => move(-1) })
  return html`<ol class="event-list">
    ${folded.map(({ event, count: times, events }, i) => {
      const isOpen = open === String(event.sequence)
      return html`<li key=${event.sequence} data-open=${isOpen}>
        <button
          type="button"
          class="event-row"
          id=${`event-${event.sequence}`}
          aria-expanded=${isOpen}
          onClick=${() => setParameters({ event: isOpen ? '' : event.sequence })}
          onFocus=${() => (focus.value = i)}
        >
          <span class="event-time"><${At} time=${event.event_time ?? event.recorded_time} /></span>
          <span class="event-type" data-tone=${toneOf(event)}>
            <span>${typeTitle(event.type)}${severityOf(event)}</span>
            ${times > 1 && html`<span class="times">× ${count(times)}</span>`}
          </span>
          <span class="event-about">${about(event)}</span>
          <span class="event-message">${event.message || reasonOf(event)}${event.ignored ? ' (ignored)' : ''}</span>
          <span class="event-category">${words(event.category ?? '')}</span>
          <span class="event-actor">${event.actor}</span>
          <span class="event-sequence">#${count(event.sequence)}</span>
        </button>
        ${isOpen && html`<${EventDetail} event=${event} events=${events} all=${all} state=${state} />`}
      </li>`
    })}
  </ol>`
}

/** @param {Api.RecordedEvent} event */
function categoriesOf(event) {
  return [event.category ?? '', event.rule_event ? 'RULES' : '']
}

/** @param {Api.RecordedEvent} event */
function toneOf(event) {
  const severity = event.rule_event?.rule_fired?.severity
  if (severity) return severities[severity]
  return bad.test(event.type) ? 'bad' : ''
}

/** @param {Api.RecordedEvent} event */
function severityOf(event) {
  const severity = event.rule_event?.rule_fired?.severity
  return severity ? `, ${words(severity)}` : ''
}

/** @param {Api.RecordedEvent} event */
function about(event) {
  /** @type {string[]} */
  const parts = []
  const found = event.rule_event?.rule_fired ?? event.rule_event?.rule_cleared
  const trial = event.trial || found?.trial
  if (trial) parts.push(`trial ${trial}`)
  if (found?.step) parts.push(`step ${count(found.step)}`)
  else if (event.attempt) parts.push(`attempt ${event.attempt}`)
  const rank = rankOf(event)
  if (rank !== undefined) parts.push(`rank ${rank}`)
  return parts.join(' · ')
}

/**
 * @param {{
 *   event: Api.RecordedEvent,
 *   events?: Api.RecordedEvent[],
 *   all: Api.RecordedEvent[],
 *   state: RuntimeState,
 * }} properties
 */
export function EventDetail({ event, events = [event], all, state }) {
  const known = new Map(all.map((one) => [one.event_id, one]))
  const chain = causeChain(event, known)
  const step = stepOf(event)
  const body = payload(event)?.body ?? {}
  // JSON would show its lines as one.
  const text = typeof body.text === 'string' && body.text.includes('\n') ? body.text : ''
  const toStep = () => {
    state.cursor.pin(step)
    toCharts()
  }
  const facts = [
    ['Type', event.type],
    ['Scope', title(event.scope ?? '')],
    ['Sequence', `${event.sequence} (number ${event.version} of its ${event.trial ? 'trial' : 'runtime'})`],
    ['Time', `${event.event_time}; recorded ${event.recorded_time}`],
    ['Actor', event.actor],
    ['Id', event.event_id],
    ['Subject', event.subject],
    ['Trace', event.traceparent],
    ['Hash', event.hash],
  ]
  return html`<div class="event-detail">
    <div>
      <h3>Because of</h3>
      ${
        chain.length === 0 &&
        html`<p class="faint">
          Nothing before it: this is where it began${event.cause ? '' : ', or the cause was not recorded'}.
        </p>`
      }
      <ol class="chain">
        ${chain.map(
          (one) => html`<li>
            ${
              'unknown' in one
                ? html`<span class="faint">command or older event <code>${one.event_id}</code></span>`
                : html`
                  <button
                    type="button"
                    class="link"
                    onClick=${() => setParameters({ event: one.sequence, scope: '', category: '' })}
                  >
                    #${count(one.sequence)} ${typeTitle(one.type)}
                  </button> <span class="faint">${one.message}</span>
                `
            }
          </li>`,
        )}
      </ol>
      ${
        events.length > 1 &&
        html`
          <h3>The same ${count(events.length)} times</h3>
          <p class="faint">
            ${events
              .map((one) => `#${one.sequence}`)
              .slice(0, 40)
              .join(' ')}
          </p>
        `
      }
      ${
        step !== undefined &&
        step > 0 &&
        html`<p>
          <button type="button" class="button small" onClick=${toStep}>Show step ${count(step)}</button> <button
            type="button"
            class="button small"
            onClick=${() => setParameters({ tab: '', event: '', step, line: '' })}
          >
            Log at step ${count(step)}
          </button>
        </p>`
      }
      <dl class="facts">
        ${facts.filter(([, text]) => text).map(([name, text]) => html`<dt>${name}</dt><dd>${text}</dd>`)}
      </dl>
    </div>
    <div>
      <h3>Content <${Copy} text=${JSON.stringify(event, null, 2)} title="Copy as JSON" /></h3>
      <pre tabindex="0">${JSON.stringify(text ? { ...body, text: undefined } : body, null, 2)}</pre>
      ${text && html`<pre tabindex="0" aria-label="Text">${text}</pre>`}
      ${
        event.ignored &&
        html`<${Tag} tone="warning">Ignored: its writer was not the current attempt. It changed nothing.<//>`
      }
    </div>
  </div>`
}
