// @ts-check
// One chart: a series of one or more trials against the axis that was chosen for all charts.
import { html, useComputed, useEffect, useMemo, useRef, useSignal, useSignalEffect } from '../html.js'
import { clock, count, plural } from '../functions/format.js'
import { spelled } from '../functions/names.js'
import {
  linearBelow,
  nearestIndex,
  plot,
  positionOf,
  smoothedByDefault,
  stepsBetween,
  titleOf,
} from '../functions/plot.js'
import { address, newRuleAddress } from '../functions/query.js'
import { formatOf } from '../functions/units.js'
import { appearance } from '../state/preferences.js'
import { settings } from '../state/chart_settings.js'
import { navigate } from '../state/location.js'
import { mayChange } from '../state/session.js'
import { Canvas, axisWidth } from './canvas.js'
import { Icon } from './icon.js'
import { lazy } from './lazy.js'
import { Menu } from './menu.js'
import { SeriesName } from './series_name.js'

/**
 * @import { Context, Trace, View } from '../functions/plot.js'
 * @import { Axis, Series } from '../functions/series.js'
 * @import { Format } from '../functions/units.js'
 * @import { Cursor } from '../state/cursor.js'
 * @import { ChartState, SeriesStore } from '../state/series_store.js'
 * @import { RefObject } from '../vendor/preact.js'
 * @import { ReadonlySignal, Signal } from '../vendor/signals.js'
 * @import { Events, Line, Pointed } from './canvas.js'
 * @import { Zoom } from './charts.js'
 */
/**
 * @typedef {{
 *   contexts: Map<string, Context>,
 *   lines: (axis: Axis, hidden: Set<string>, tokens?: Map<string, Series>) => Line[],
 *   over?: boolean,
 *   run?: string,
 *   identity?: string,
 * }} ChartContext
 */
/** @typedef {{ width: number, height: number }} Size */

const aheadOfView = '250px'
const briefFrom = 2
const firingReach = 6
const tokensKey = 'train/tokens'
const sentencesAtMost = 3
const tipGap = 14
// Of a tooltip at its widest, with its gap.
const tipRoom = 320
// What only a few ever click is fetched when they do.
const files = () => import('./files.js')
const ChartTable = lazy(() => import('./chart_table.js').then((module) => module.ChartTable))

/**
 * `context` is a signal of {contexts, lines(axis)}; `cursor` is shared by all charts of the page.
 *
 * @param {{
 *   store: SeriesStore,
 *   cursor: Cursor,
 *   context: ReadonlySignal<ChartContext>,
 *   name: string,
 *   zoom: Zoom,
 *   tall?: boolean,
 *   alike?: Map<string, string[]>,
 * }} properties
 */
export function Chart({ store, cursor, context, name, zoom, tall, alike }) {
  const data = useMemo(() => store.chart(name), [store, name])
  /** @type {RefObject<HTMLElement | null>} */
  const figure = useRef(null)
  /** @type {RefObject<HTMLElement | null>} */
  const root = useRef(null)
  /** @type {RefObject<Canvas | null>} */
  const canvas = useRef(null)
  const size = useSignal({ width: 0, height: 0 })
  const visible = useSignal(false)
  /** @type {Signal<Pointed | null>} */
  const hover = useSignal(null)
  const table = useSignal(false)
  const smoothThis = useSignal(smoothedByDefault(name))
  const large = useSignal(false)
  const over = useComputed(() => context.value.over)
  useEffect(
    () => (figure.current && root.current ? watchSize(figure.current, root.current, size, visible) : undefined),
    [],
  )
  useEffect(() => {
    if (!root.current) return
    /** @type {(low: number, high: number) => View | null} */
    const stepsOf = (low, high) => stepsBetween(canvas.current?.plot.traces ?? [], low, high, settings().axis)
    /** @type {Events} */
    const events = {
      onCursor: (at) => onCursor(at, { canvas: canvas.current, hover, cursor, name }),
      onSelect: (low, high) => zoom.to(stepsOf(low, high)),
      onPin: () => cursor.pin(cursor.hovered.peek()?.step),
      onBack: () => {
        cursor.unpin()
        zoom.back()
      },
      onPan: (low, high) => zoom.to(stepsOf(low, high), { replace: true }),
      onWheel: (low, high) => zoom.to(stepsOf(low, high), { replace: true }),
    }
    canvas.current = new Canvas(root.current, events, formatOf(name))
    return () => canvas.current?.destroy()
  }, [])
  useSignalEffect(() => {
    const { width, height } = size.value
    const shown = data.value
    const { contexts, lines } = context.value
    const { axis, scale, weight, hidden } = settings()
    const look = appearance.value
    const view = store.view.value
    if (!visible.value || width === 0) return
    const list = (view && shown.detail ? shown.detail : shown.overview).filter(
      (one) => !(one.superseded && hidden.has('superseded')),
    )
    const tokens = axis === 'tokens' ? tokensOf(store) : undefined
    const drawn = plot(list, {
      axis,
      scale,
      weight: smoothThis.value ? weight : 0,
      contexts: tokens ? withTokens(contexts, tokens) : contexts,
    })
    const linear = scale === 'symlog' ? linearBelow(list) : 1
    canvas.current?.update(drawn, viewOn(axis, view, drawn.traces), lines(axis, hidden, tokens), {
      axis,
      scale,
      linear,
      appearance: look,
      width,
      height,
    })
    if (cursor.at.peek()?.source !== name) canvas.current?.showStep(cursor.at.peek()?.step, axis)
  })
  useSignalEffect(() => {
    const at = cursor.at.value
    if (at?.source === name) return
    hover.value = null
    if (visible.peek()) canvas.current?.showStep(at?.step, settings().axis)
  })
  /** @param {KeyboardEvent} event */
  const onKeyDown = (event) => moveByKey(event, { data: data.peek(), cursor })
  const { overview, detail, loading, error } = data.value
  const list = store.view.value && detail ? detail : overview
  const lineage = list.filter((one) => !one.superseded)
  const points = lineage.reduce((sum, one) => sum + one.lastSteps.length, 0)
  const odd = lineage.flatMap((one) =>
    one.counts
      .map((n, i) => (one.nans[i] || one.positives[i] || one.negatives[i] ? one.lastSteps[i] : 0))
      .filter(Boolean),
  )
  return html`<figure
    class="chart card ${tall ? 'tall' : ''} ${large.value ? 'large' : ''}"
    ref=${figure}
    tabindex="0"
    aria-label=${`${titleOf(name)}, ${spelled(name)}`}
    data-key=${name}
    data-nan-steps=${odd.join(' ')}
    onKeyDown=${onKeyDown}
  >
    <figcaption>
      <span class="chart-title" title=${name}>${titleOf(name)}</span>
      <span class="chart-key"><${SeriesName} name=${name} alike=${alike?.get(name)} /></span>
      <${Readout} data=${data} cursor=${cursor} store=${store} number=${formatOf(name)} />
      <${ChartMenu} ...${{ store, name, data, canvas, table, smoothThis, large, list, run: context.value.run ?? '' }} />
    </figcaption>
    <div class="chart-body" ref=${root} hidden=${table.value} data-empty=${points === 0}>
      ${
        hover.value &&
        html`<${Tooltip}
          hover=${hover.value}
          canvas=${canvas.current}
          width=${size.value.width}
          number=${formatOf(name)}
        />`
      }
    </div>
    ${table.value && html`<${ChartTable} list=${list} name=${name} />`}
    <p class="chart-foot">
      ${
        error
          ? html`<span class="bad">${error}</span>`
          : loading
            ? 'Loading…'
            : footText(name, list, odd, store.firstOdd.value.get(name), over.value)
      }
    </p>
  </figure>`
}

/**
 * @param {HTMLElement} figure
 * @param {HTMLElement} root
 * @param {Signal<Size>} size
 * @param {Signal<boolean>} visible
 */
function watchSize(figure, root, size, visible) {
  const resize = new ResizeObserver(() => {
    if (root.clientWidth > 0) size.value = { width: root.clientWidth, height: root.clientHeight }
  })
  resize.observe(root)
  const seen = new IntersectionObserver((entries) => (visible.value = entries[entries.length - 1].isIntersecting), {
    rootMargin: aheadOfView,
  })
  seen.observe(figure)
  return () => {
    resize.disconnect()
    seen.disconnect()
  }
}

/**
 * The tokens that each trial has read, by its name. Asked for once an axis shows them.
 *
 * @param {SeriesStore} store
 */
function tokensOf(store) {
  const { overview } = store.chart(tokensKey).value
  return new Map(overview.filter((one) => !one.superseded).map((one) => [one.parent, one]))
}

/**
 * @param {Map<string, Context>} contexts
 * @param {Map<string, Series>} tokens
 */
function withTokens(contexts, tokens) {
  return new Map([...contexts].map(([parent, context]) => [parent, { ...context, tokens: tokens.get(parent) }]))
}

/**
 * @param {Axis} axis
 * @param {View | null} view
 * @param {Trace[]} traces
 * @returns {[number, number] | null}
 */
function viewOn(axis, view, traces) {
  if (!view) return null
  if (axis === 'step') return [view.from, view.to]
  const low = positionOf(traces, view.from, axis)
  const high = positionOf(traces, view.to, axis)
  return low === undefined || high === undefined || low === high ? null : [low, high]
}

/**
 * @param {Pointed | null} at
 * @param {{ canvas: Canvas | null, hover: Signal<Pointed | null>, cursor: Cursor, name: string }} parts
 */
function onCursor(at, { canvas, hover, cursor, name }) {
  if (!at || !canvas) {
    hover.value = null
    cursor.leave(name)
    return
  }
  let best
  for (const { xs, series } of canvas.plot.traces) {
    const i = nearestIndex(xs, at.x)
    if (i === -1) continue
    const distance = Math.abs(xs[i] - at.x)
    if (!best || distance < best.distance) best = { distance, step: series.lastSteps[i] }
  }
  hover.value = at
  if (best) cursor.hover(best.step, name)
}

/**
 * Arrow keys go from point to point.
 *
 * @param {KeyboardEvent} event
 * @param {{ data: ChartState, cursor: Cursor }} parts
 */
function moveByKey(event, { data, cursor }) {
  if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return
  const series = (data.detail ?? data.overview).find((one) => !one.superseded)
  if (!series || series.lastSteps.length === 0) return
  event.preventDefault()
  const at = cursor.at.peek()?.step
  const from = at === undefined ? series.lastSteps.length : nearestIndex(series.lastSteps, at)
  const way = event.key === 'ArrowLeft' ? -1 : 1
  let next = from + way
  while (series.lastSteps[next] !== undefined && series.lastSteps[next] === at) next += way
  cursor.pin(series.lastSteps[Math.min(series.lastSteps.length - 1, Math.max(0, next))])
}

/**
 * The value under the cursor, or the last one. Of several trials one value would belong to nobody: the tooltip has
 * them.
 *
 * @param {{ data: Signal<ChartState>, cursor: Cursor, store: SeriesStore, number: Format }} properties
 */
function Readout({ data, cursor, store, number }) {
  const { overview, detail } = data.value
  const series = (store.view.value && detail ? detail : overview).find((one) => !one.superseded)
  if (!series || series.lastSteps.length === 0 || store.parents.length > 1) return html`<span class="readout"></span>`
  const at = cursor.at.value?.step
  const i = at === undefined ? series.lastSteps.length - 1 : nearestIndex(series.lastSteps, at)
  const last = series.lasts[i]
  return html`<span class="readout">
    <span class="readout-step">${count(series.lastSteps[i])}</span>
    <b class=${Number.isFinite(last) ? '' : 'bad'}>${number(last)}</b>
  </span>`
}

/**
 * @param {string} name
 * @param {Series[]} list
 * @param {number[]} odd
 * @param {number | undefined} firstOdd
 * @param {boolean | undefined} over
 */
function footText(name, list, odd, firstOdd, over) {
  const lineage = list.filter((one) => !one.superseded)
  const points = lineage.reduce((sum, one) => sum + one.counts.reduce((a, b) => a + b, 0), 0)
  if (points === 0 && over) return html`No points: <code><${SeriesName} name=${name} /></code> was never logged`
  if (points === 0) return html`No points yet: <code>trial.log({"<${SeriesName} name=${name} />": …})</code>`
  const width = Math.max(...lineage.map((one) => one.width))
  const raw = lineage.every((one) => one.raw)
  const bucket = raw ? 'raw points' : `bucket = ${plural(width, 'step')}`
  const missing =
    odd.length > 0 ? html`<span class="bad"> · not finite since step ${count(firstOdd ?? odd[0])}</span>` : ''
  return html`${bucket} · ${plural(points, 'point')}${missing}`
}

/** @param {{ hover: Pointed, canvas: Canvas, width: number, number: Format }} properties */
function Tooltip({ hover, canvas, width, number }) {
  const traces = canvas?.plot?.traces ?? []
  const rows = traces
    .map((trace) => ({ trace, i: nearestIndex(trace.xs, hover.x) }))
    .filter(({ trace, i }) => i !== -1 && Math.abs(canvas.left(trace.xs[i]) - hover.left) < (trace.superseded ? 4 : 24))
  if (rows.length === 0) return null
  const names = new Set(traces.map((trace) => trace.series.parent)).size > 1 ? nameOfTrial : nameOfAttempt
  const first = rows.find(({ trace }) => !trace.superseded) ?? rows[0]
  const fired = canvas.lines.filter(
    ({ sentence, x }) => sentence && Math.abs(canvas.left(x) - hover.left) < firingReach,
  )
  const { series } = first.trace
  const brief = rows.length > briefFrom
  return html`<div
    class="tip chart-tip"
    style=${{ transform: brief ? besideChart(canvas.root, width) : besidePointer(hover.left + axisWidth, width) }}
  >
    <strong>${stepText(series, first.i)}</strong>
    <span class="faint">${clock(series.times[first.i])}</span>
    ${rows.map(
      ({ trace, i }) => html`<${TipRow}
        number=${number}
        trace=${trace}
        i=${i}
        name=${rows.length > 1 ? names(trace, i) : ''}
        brief=${brief}
      />`,
    )}
    ${fired.slice(0, sentencesAtMost).map((line) => html`<p class="tip-firing">${line.sentence}</p>`)}
  </div>`
}

/**
 * On the side of the pointer with more room, and never beyond the chart: percentages are of the tooltip's own width.
 *
 * @param {number} x
 * @param {number} width
 */
function besidePointer(x, width) {
  const left = `max(0px, calc(${x - tipGap}px - 100%))`
  const right = `min(${x + tipGap}px, calc(${width}px - 100%))`
  return `translate(${x > width / 2 ? left : right}, 12px)`
}

/**
 * Many lines would be covered by what is said of them: beside the chart where the window has room, else below it.
 *
 * @param {HTMLElement} root
 * @param {number} width
 */
function besideChart(root, width) {
  const { left, right, height } = root.getBoundingClientRect()
  if (window.innerWidth - right > tipRoom) return `translate(${width + tipGap}px, 12px)`
  if (left > tipRoom) return `translate(calc(-100% - ${tipGap}px), 12px)`
  return `translate(0, ${height + tipGap}px)`
}

/**
 * @param {Series} series
 * @param {number} i
 */
function stepText(series, i) {
  const [from, to] = [series.firstSteps[i], series.lastSteps[i]]
  return from === to ? `Step ${count(to)}` : `Steps ${count(from)} to ${count(to)}`
}

/** @param {Trace} parts */
function nameOfTrial({ series, name }) {
  return name ?? series.parent.replace(/^runtimes\//, '').replace('/trials/', ' · trial ')
}

/**
 * @param {Trace} parts
 * @param {number} i
 */
function nameOfAttempt({ series, superseded, trunk }, i) {
  if (trunk) return 'before the branch'
  return superseded ? `attempt ${series.attempt}, superseded` : `attempt ${series.attempts[i]}`
}

/**
 * `brief`: the value alone, where many lines share one tooltip.
 *
 * @param {{ trace: Trace, i: number, name: string, brief: boolean, number: Format }} properties
 */
function TipRow({ trace, i, name, brief, number }) {
  const { series } = trace
  const points = series.counts[i]
  /** @type {[number, string][]} */
  const found = [
    [series.nans[i], 'NaN'],
    [series.positives[i], '+∞'],
    [series.negatives[i], '−∞'],
  ]
  const odd = found.filter(([n]) => n > 0)
  return html`<div
    class="tip-row"
    data-colour=${typeof trace.colour === 'string' ? undefined : (trace.colour % 10) + 1}
    style=${typeof trace.colour === 'string' ? { '--colour': trace.colour } : undefined}
    data-superseded=${trace.superseded}
    data-brief=${brief}
  >
    ${name && html`<span class="tip-name"><i></i><span>${name}</span></span>`}
    <span class="tip-value">${number(series.lasts[i])}</span>
    ${!brief && trace.smooth && html`<span class="faint">smoothed ${number(trace.smooth[i])}</span>`}
    ${
      !brief &&
      points > 1 &&
      html`<dl class="tip-facts">
        <dt>min</dt>
        <dd>${number(series.mins[i])}</dd>
        <dt>max</dt>
        <dd>${number(series.maxs[i])}</dd>
        <dt>mean</dt>
        <dd>${number(series.means[i])}</dd>
        <dt>points</dt>
        <dd>${count(points)}</dd>
      </dl>`
    }
    ${odd.length > 0 && html`<span class="bad">${odd.map(([n, word]) => `${count(n)} × ${word}`).join(', ')}</span>`}
  </div>`
}

/**
 * @param {{
 *   store: SeriesStore,
 *   name: string,
 *   data: Signal<ChartState>,
 *   canvas: { current: Canvas | null },
 *   table: Signal<boolean>,
 *   smoothThis: Signal<boolean>,
 *   large: Signal<boolean>,
 *   list: Series[],
 *   run: string,
 * }} properties
 */
function ChartMenu({ store, name, data, canvas, table, smoothThis, large, list, run }) {
  const items = [
    [table.value ? 'As chart' : 'As table', () => (table.value = !table.value)],
    [large.value ? 'Usual size' : 'Large', () => (large.value = !large.value)],
    [smoothThis.value ? 'Do not smooth' : 'Smooth', () => (smoothThis.value = !smoothThis.value)],
    ['Save PNG', () => files().then((to) => canvas.current?.chart && to.savePicture(canvas.current.chart, run, name))],
    ['Save CSV (what is shown)', () => files().then((to) => to.saveSeries(list, run, name))],
    [
      'Save Arrow (all points)',
      () =>
        (window.location.href = address('/api/v1/series:export', {
          parents: store.parents,
          keys: [name],
          include_superseded: true,
          format: 'arrow',
        })),
    ],
    [
      'Copy as Python',
      () => files().then((to) => to.copyPython({ parents: store.parents, keys: [name], view: store.view.peek() })),
    ],
    ...(store.parents.length === 1 && mayChange()
      ? [['New rule', () => navigate(newRuleAddress(store.parents[0], name))]]
      : []),
  ]
  return html`<${Menu} label=${`Options of ${titleOf(name)}`} items=${items}><${Icon} name="more" /><//>`
}
