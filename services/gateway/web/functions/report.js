// @ts-check
// One run as one HTML file that opens without a server: what the page knows of it, drawn as SVG. Pure.
import { plain } from './ansi.js'
import { count, duration, percent } from './format.js'
import { spelled } from './names.js'
import { titleOf } from './plot.js'
import { typeTitle } from './events.js'
import { formatOf } from './units.js'

/**
 * @import { Series } from './series.js'
 * @import { Format } from './units.js'
 */
/**
 * @typedef {{
 *   runtime: Api.Runtime,
 *   trial: Api.Trial | undefined,
 *   series: Series[],
 *   events: Api.RecordedEvent[],
 *   lines: Api.LogEntry[],
 *   configuration: string,
 *   taken: string,
 *   address: string,
 * }} Report
 */

const width = 460
const height = 170
const style = [
  ':root{color-scheme:light dark;--ink:light-dark(#1d2430,#e9ecf2);--muted:light-dark(#5b6472,#9aa4b2)}',
  ':root{--line:light-dark(#dfe3ea,#333a46);--curve:light-dark(#2461e0,#6aa2ff)}',
  'body{font:14px/1.45 system-ui,sans-serif;color:var(--ink);max-width:1460px;margin:24px auto;padding:0 20px}',
  'h1{font-size:22px;margin:0}h2{font-size:16px;margin:28px 0 8px}h3{font-size:13px;margin:0}',
  '.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(380px,1fr));gap:14px}',
  'figure{margin:0;padding:12px;border:1px solid var(--line);border-radius:10px}',
  'figcaption{display:flex;justify-content:space-between;gap:8px}svg{width:100%;height:auto;display:block}',
  'text{fill:var(--muted);font:11px system-ui,sans-serif}.muted{color:var(--muted)}',
  'table{border-collapse:collapse;width:100%;font-size:13px}',
  'td,th{text-align:left;padding:3px 10px 3px 0;border-bottom:1px solid var(--line);vertical-align:top}',
  'pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:12px;max-height:480px;overflow:auto}',
].join('\n')

/**
 * `series` are decoded series of one trial, `events` newest first, `lines` of its log oldest first.
 *
 * @param {Report} parts
 */
export function report({ runtime, trial, series, events, lines, configuration, taken, address }) {
  /** @type {Partial<Api.Progress>} */
  const progress = trial?.progress ?? {}
  const ofTotal = progress.total_steps
    ? ` of ${count(progress.total_steps)} (${percent(progress.completion_percent)})`
    : ''
  const facts = [
    ['Status', runtime.status],
    ['Why', runtime.reason],
    ['Steps', `${count(progress.step ?? 0)}${ofTotal}`],
    ['Elapsed', duration(trial?.elapsed)],
    ['Trial', `${trial?.trial ?? 1} of ${runtime.trial_count ?? 1}`],
    ['Started by', `${runtime.created_by ?? ''}, ${runtime.create_time ?? ''}`],
    ['Id', runtime.runtime_id],
    ['Taken', `${taken} from ${address}`],
  ]
  const title = escape(runtime.display_name || runtime.runtime_id)
  const told = facts
    .filter(([, text]) => text)
    .map(([name, text]) => `<tr><th>${name}</th><td>${escape(text)}</td></tr>`)
  const drawn = series.filter((one) => !one.superseded && one.lastSteps.length > 0).map(figure)
  const head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
  return [
    `<!doctype html><html lang="en">${head}<title>${title}</title><style>`,
    `${style}</style>`,
    `<h1>${title}</h1>`,
    `<table>${told.join('')}</table>`,
    `<h2>Series</h2><div class="grid">${drawn.join('')}</div>`,
    `<h2>Configuration</h2><pre>${escape(configuration)}</pre>`,
    `<h2>Events</h2><table>${events.map(row).join('')}</table>`,
    `<h2>Log, last ${count(lines.length)} lines</h2>`,
    `<pre>${lines.map((line) => escape(plain(line.text ?? ''))).join('\n')}</pre></html>`,
    '',
  ].join('\n')
}

/** @param {Api.RecordedEvent} event */
function row(event) {
  const cells = [event.event_time, typeTitle(event.type), event.message].map((text) => `<td>${escape(text)}</td>`)
  return `<tr>${cells.join('')}<td class="muted">${escape(event.actor)}</td></tr>`
}

/** @param {Series} series */
function figure(series) {
  const format = formatOf(series.key)
  const last = series.lasts.at(-1)
  const key = escape(series.key)
  const names = `${escape(titleOf(series.key))} <span class="muted">${escape(spelled(series.key))}</span>`
  const caption = `<h3 title="${key}">${names}</h3><b>${escape(format(last))}</b>`
  return `<figure><figcaption>${caption}</figcaption>${curve(series, format)}</figure>`
}

/**
 * @param {Series} series
 * @param {Format} format
 */
function curve(series, format) {
  const values = [...series.mins, ...series.maxs, ...series.lasts].filter(Number.isFinite)
  if (values.length === 0) return '<p class="muted">No finite value.</p>'
  // Not spread into a call: there may be a hundred thousand.
  let [low, high] = values.reduce(([a, b], one) => [Math.min(a, one), Math.max(b, one)], [Infinity, -Infinity])
  if (low === high) [low, high] = [low - 1, high + 1]
  const [from, to] = [series.lastSteps[0], series.lastSteps[series.lastSteps.length - 1]]
  /** @param {number} step */
  const x = (step) => (to === from ? width / 2 : ((step - from) / (to - from)) * width).toFixed(1)
  /** @param {number} value */
  const y = (value) => (6 + (1 - (value - low) / (high - low)) * (height - 12)).toFixed(1)
  /** @param {number[]} list */
  const points = (list) =>
    series.lastSteps.map((step, i) => [step, list[i]]).filter(([, value]) => Number.isFinite(value))
  const line = points(series.lasts)
    .map(([step, value], i) => `${i === 0 ? 'M' : 'L'}${x(step)} ${y(value)}`)
    .join('')
  const edge = [...points(series.maxs), ...points(series.mins).reverse()]
    .map(([step, value], i) => `${i === 0 ? 'M' : 'L'}${x(step)} ${y(value)}`)
    .join('')
  const [lowest, highest] = [escape(format(low)), escape(format(high))]
  const label = `${escape(series.key)} from ${lowest} to ${highest}`
  return [
    `<svg viewBox="0 0 ${width} ${height + 16}" role="img" aria-label="${label}">`,
    `<path d="${edge}Z" fill="var(--curve)" opacity=".25"/>`,
    `<path d="${line}" fill="none" stroke="var(--curve)" stroke-width="1.5"/>`,
    `<text x="2" y="12">${highest}</text><text x="2" y="${height - 4}">${lowest}</text>`,
    `<text x="0" y="${height + 13}">${count(from)}</text>`,
    `<text x="${width}" y="${height + 13}" text-anchor="end">step ${count(to)}</text></svg>`,
  ].join('')
}

/** @param {unknown} text */
function escape(text) {
  return String(text ?? '').replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
