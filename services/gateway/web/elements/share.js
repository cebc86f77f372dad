// @ts-check
// A run to hand on: a link that shows what one sees, or one file that needs no server.
import { html } from '../html.js'
import { get } from '../api.js'
import { bucketLimit } from '../state/series_store.js'
import { decode } from '../functions/series.js'
import { settings } from '../state/chart_settings.js'
import { copyText } from './button.js'
import { Icon } from './icon.js'
import { Menu } from './menu.js'

/**
 * @import { Series } from '../functions/series.js'
 * @import { RuntimeState } from '../state/runtime.js'
 */

const keysAtOnce = 100
const linesKept = 1_000
const eventsKept = 1_000

/** @param {{ state: RuntimeState }} properties */
export function Share({ state }) {
  const copyLink = () => {
    const url = new URL(window.location.href)
    const pinned = state.cursor.pinned.peek()
    // What is a habit of this browser is said, so that the other one shows the same.
    url.searchParams.set('smooth', String(settings().weight))
    url.searchParams.set('trial', String(state.trialNumber.peek()))
    if (pinned !== undefined) url.searchParams.set('pin', String(pinned))
    return copyText(url.href)
  }
  return html`<${Menu}
    label="Share"
    look="button only-icon"
    items=${[
      ['Copy link to what I see', copyLink],
      ['Save as one HTML file', () => saveReport(state)],
    ]}
  >
    <${Icon} name="link" />
  <//>`
}

/** @param {RuntimeState} state */
async function saveReport(state) {
  // Few want it: it is fetched when it is asked for.
  const [{ report }, { fileName }, { save }] = await Promise.all([
    import('../functions/report.js'),
    import('../functions/files.js'),
    import('./files.js'),
  ])
  const [runtime, trial] = [state.runtime.peek(), state.trial.peek()]
  if (!runtime) return
  const keys = state.seriesKeys.peek().map((one) => one.key)
  /** @type {Series[]} */
  const series = []
  for (let at = 0; at < keys.length; at += keysAtOnce) {
    const answer = await get('/series:query', {
      parents: trial ? [trial.name] : [],
      keys: keys.slice(at, at + keysAtOnce),
      bucket_count: bucketLimit,
      ...state.past,
    })
    series.push(...(answer.series ?? []).map(decode))
  }
  const log = trial
    ? await get(`/${trial.name}/logs`, { backwards: true, page_size: linesKept, ...state.past })
    : undefined
  const events = await get(`/runtimes/${runtime.runtime_id}/events`, {
    newest_first: true,
    page_size: eventsKept,
    ...state.past,
  })
  const text = report({
    runtime,
    trial,
    series,
    events: events.events ?? [],
    lines: log?.entries ?? [],
    configuration: runtime.configuration_text || runtime.resolved_text,
    taken: new Date().toISOString(),
    address: window.location.origin,
  })
  save(
    new Blob([text], { type: 'text/html' }),
    fileName(runtime.display_name || runtime.runtime_id, `${trial?.trial ?? 1}.html`),
  )
}
