// @ts-check
// Any past moment of a runtime, made of the same elements as the live page.
import { html, useEffect, useMemo, useRef, useSignal, useSignalEffect } from '../html.js'
import { typeTitle } from '../functions/events.js'
import { clock, count } from '../functions/format.js'
import { address } from '../functions/query.js'
import { changesStatus, eventAt, histogram, places, tellingChanges, toneOf } from '../functions/replay.js'
import { navigate, parameter, setParameters } from '../state/location.js'
import { AuditWalk } from '../state/audit.js'
import { useKeys } from '../state/keyboard.js'
import { verifyLog } from '../state/verify.js'
import { Choice } from './button.js'
import { Charts } from './charts.js'
import { Problem } from './dialog.js'
import { Empty } from './empty.js'
import { EventDetail, Events } from './events.js'
import { Header } from './header.js'
import { Icon } from './icon.js'
import { Logs } from './logs.js'
import { Monitors } from './monitors.js'
import { Shell } from './shell.js'

/**
 * @import { RefObject } from '../vendor/preact.js'
 * @import { Signal } from '../vendor/signals.js'
 */

const speeds = [
  ['events', 'Event by event'],
  ['1', '1×'],
  ['10', '10×'],
  ['100', '100×'],
]
const scales = [
  ['time', 'Time'],
  ['sequence', 'Sequence'],
]
const bins = 120

/** @param {{ id: string }} properties */
export function AuditPage({ id }) {
  const walk = useMemo(() => new AuditWalk(id), [id])
  const by = useSignal('time')
  useEffect(() => {
    document.title = 'Audit · Milepost'
    walk.open(parameter('at'))
    return () => walk.close()
  }, [walk])
  useSignalEffect(() => {
    const event = walk.events.value[walk.index.value]
    if (event && !walk.playing.value) setParameters({ at: event.sequence })
  })
  useKeys({
    ' ': () => (walk.playing.peek() ? walk.pause() : walk.play()),
    ArrowLeft: () => walk.step(-1),
    ArrowRight: () => walk.step(1),
    Escape: () => navigate(`/runtimes/${id}`),
  })
  const runtime = walk.state.runtime.value
  const events = walk.events.value
  return html`<${Shell}
    page="audit"
    alone
    connection=${walk.state.connection}
    crumbs=${html`
      <span aria-hidden="true">/</span>
      <a class="crumb" href=${`/runtimes/${id}`}>${runtime?.display_name ?? id}</a>
      <span aria-hidden="true">/</span>
      <span class="crumb">Audit</span>
    `}
  >
    <div class="runtime-page audit-page">
      <${Problem} error=${walk.error.value} />
      ${events.length === 0 && !walk.error.value ? html`<${Empty} title="Reading the log…" />` : ''}
      ${events.length > 0 && html`<${Player} walk=${walk} by=${by} id=${id} />`}
      ${
        runtime &&
        html`<div class="audit-body">
          <div class="audit-state">
            <${Header} state=${walk.state} />
            <${Monitors} state=${walk.state} />
            <${Charts} state=${walk.state} />
            <section class="card padded"><h2>Events until then</h2><${Events} state=${walk.state} /></section>
            <section class="card padded">
              <h2>Log until then</h2><${Logs} key=${walk.index.value} state=${walk.state} />
            </section>
          </div>
          <aside class="audit-side"><${LastEvent} walk=${walk} /></aside>
        </div>`
      }
    </div>
  <//>`
}

/** @param {{ walk: AuditWalk, by: Signal<string>, id: string }} properties */
function Player({ walk, by, id }) {
  const events = walk.events.value
  const index = Math.max(0, walk.index.value)
  const event = events[index]
  const instant = walk.instant.value
  const all = useMemo(() => places(walk.times, by.value), [events, by.value])
  const at =
    instant === undefined || by.value === 'sequence'
      ? all[index]
      : Math.min(1, (instant - walk.times[0]) / (walk.times[walk.times.length - 1] - walk.times[0] || 1))
  /** @param {number} place */
  const seek = (place) => {
    walk.pause()
    walk.show(eventAt(all, place))
  }
  return html`<section class="player card" aria-label="Time">
    <div class="past-banner">
      <${Icon} name="history" /><strong>Past</strong>
      <span>
        as of ${instant === undefined ? html`event #${count(event.sequence)}, ` : ''}
        ${clock(instant ?? walk.times[index])}
      </span>
      <span class="faint">
        event ${count(index + 1)} of ${count(events.length)}${walk.truncated ? ' (the first ones)' : ''}
      </span>
      <a class="button small" href=${`/runtimes/${id}`}>To the present</a>
    </div>
    <${Scrubber} events=${events} all=${all} at=${at} seek=${seek} index=${index} />
    <div class="player-bar">
      <button
        type="button"
        class="button only-icon"
        onClick=${() => walk.step(-1)}
        aria-label="Event before"
        title="Event before (←)"
      >
        <span class="turned"><${Icon} name="right" /></span>
      </button>
      <button
        type="button"
        class="button primary"
        onClick=${() => (walk.playing.peek() ? walk.pause() : walk.play())}
        title="Space"
      >
        <${Icon} name=${walk.playing.value ? 'pause' : 'play'} /><span>${walk.playing.value ? 'Pause' : 'Play'}</span>
      </button>
      <button
        type="button"
        class="button only-icon"
        onClick=${() => walk.step(1)}
        aria-label="Next event"
        title="Next event (→)"
      >
        <${Icon} name="right" />
      </button>
      <${Choice}
        label="Speed"
        value=${walk.speed.value}
        choices=${speeds}
        onChange=${(speed) => (walk.speed.value = speed)}
      />
      <${Choice} label="Slider by" value=${by.value} choices=${scales} onChange=${(scale) => (by.value = scale)} />
      <${Exports} walk=${walk} id=${id} event=${event} />
      <${Verify} id=${id} />
    </div>
  </section>`
}

/**
 * The whole run as a bundle, or the events of a range that ends at the moment shown.
 *
 * @param {{ walk: AuditWalk, id: string, event: Api.RecordedEvent }} properties
 */
function Exports({ walk, id, event }) {
  const start = walk.rangeStart.value
  const first = start && start <= event.sequence ? start : walk.events.value[0].sequence
  const range = address('/api/v1/events:replay', {
    parent: `runtimes/${id}`,
    after_sequence: first - 1,
    until_sequence: event.sequence,
  })
  return html`<span class="exports">
    <button
      type="button"
      class="button"
      aria-pressed=${start === event.sequence}
      onClick=${() => (walk.rangeStart.value = start === event.sequence ? 0 : event.sequence)}
      title="The exported range begins at the moment shown"
    >
      Range from here
    </button>
    <a
      class="button"
      href=${range}
      download=${`${id}-${first}-${event.sequence}.ndjson`}
      title="Events of the range as lines of JSON"
    >
      <${Icon} name="download" /><span>Events #${count(first)} to #${count(event.sequence)}</span>
    </a>
    <a
      class="button"
      href=${`/api/v1/runtimes/${id}:export`}
      download
      title="The whole run, to be verified without a server or imported elsewhere"
    >
      <${Icon} name="download" /><span>Bundle</span>
    </a>
  </span>`
}

/**
 * Events as a histogram with ticks at changes of status; the thumb is a range input, so that it has keys and a name.
 *
 * @param {{
 *   events: Api.RecordedEvent[],
 *   all: number[],
 *   at: number,
 *   seek: (place: number) => void,
 *   index: number,
 * }} properties
 */
function Scrubber({ events, all, at, seek, index }) {
  const counts = histogram(all, bins)
  const most = Math.max(...counts)
  /** @type {RefObject<HTMLInputElement | null>} */
  const input = useRef(null)
  useEffect(() => {
    if (input.current) input.current.value = String(at)
  }, [at])
  return html`<div class="scrubber">
    <svg viewBox=${`0 0 ${bins} 40`} preserveAspectRatio="none" aria-hidden="true">
      ${counts.map(
        (number, i) =>
          number > 0 &&
          html`<rect
            key=${i}
            class=${i / bins <= at ? 'past' : ''}
            x=${i + 0.1}
            y=${40 - 4 - (34 * number) / most}
            width="0.8"
            height=${4 + (34 * number) / most}
          />`,
      )}
    </svg>
    <div class="scrubber-ticks">
      ${events.map(
        (event, i) =>
          changesStatus(event) &&
          html`<i
            key=${event.sequence}
            data-tone=${toneOf(event)}
            style=${{ left: `${all[i] * 100}%` }}
            title=${`${typeTitle(event.type)}: ${event.message}`}
          ></i>`,
      )}
    </div>
    <input
      ref=${input}
      type="range"
      min="0"
      max="1"
      step="any"
      aria-label="Moment"
      aria-valuetext=${`event ${index + 1} of ${events.length}`}
      onInput=${(event) => seek(Number(event.target.value))}
    />
  </div>`
}

/** @param {{ walk: AuditWalk }} properties */
function LastEvent({ walk }) {
  const event = walk.events.value[walk.index.value]
  if (!event) return null
  const { telling, rest } = tellingChanges(walk.changes.value)
  return html`<section class="card padded">
    <h2>What the last event changed</h2>
    <p class="last-event">
      <strong>${typeTitle(event.type)}</strong> <span class="faint">#${count(event.sequence)} · ${event.actor}</span>
    </p>
    <p>${event.message}</p>
    ${
      telling.length === 0
        ? html`<p class="faint">Nothing that the page shows.</p>`
        : html`<dl class="changes">
          ${telling.map(
            (change) => html`
              <dt><code>${change.path}</code></dt>
              <dd><del>${change.before || 'not there'}</del> <ins>${change.after || 'gone'}</ins></dd>
            `,
          )}
        </dl>`
    }
    ${
      rest > 0 &&
      html`<p class="faint">and ${count(rest)} ${rest === 1 ? 'field that counts' : 'fields that count'} changes</p>`
    }
    <details>
      <summary>The event itself</summary><${EventDetail} event=${event} all=${walk.events.value} state=${walk.state} />
    </details>
  </section>`
}

/** @param {{ id: string }} properties */
function Verify({ id }) {
  const busy = useSignal(false)
  /** @type {Signal<Api.VerifyLogResponse | null>} */
  const result = useSignal(null)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  const run = async () => {
    busy.value = true
    error.value = null
    result.value = null
    try {
      await verifyLog(`runtimes/${id}`, (message) => (result.value = message))
    } catch (failure) {
      error.value = failure
    } finally {
      busy.value = false
    }
  }
  const answer = result.value
  return html`<span class="verify">
    <button
      type="button"
      class="button"
      onClick=${run}
      disabled=${busy.value}
      title="Rebuilds from the log, compares with the live read model, checks the hash chain"
    >
      ${busy.value ? `Verifying… ${answer ? count(answer.checked_events) : ''}` : 'Verify'}
    </button>
    ${
      answer?.finished &&
      html`<span class="verdict" data-valid=${answer.valid} role="status">
        <${Icon} name=${answer.valid ? 'completed' : 'failed'} />${answer.message}
      </span>`
    }
    ${
      answer?.finished &&
      answer.findings.length > 0 &&
      html`<ul class="findings">
        ${answer.findings.map(
          (finding) => html`<li>
            <code>${finding.kind}</code> ${finding.sequence ? `#${count(finding.sequence)} ` : ''}
            ${finding.message}
            ${finding.tolerated ? ' (without effect)' : ''}
          </li>`,
        )}
      </ul>`
    }
    ${error.value && html`<span class="bad" role="alert">${error.value.message}</span>`}
  </span>`
}
