// @ts-check
// A series of histograms over steps as a heat map: values upwards, steps to the right, how many as darkness.
import { html, useEffect, useRef, useSignal } from '../html.js'
import { get } from '../api.js'
import { count, plural, value as number } from '../functions/format.js'
import { Problem } from './dialog.js'

/**
 * @import { RuntimeState } from '../state/runtime.js'
 * @import { Signal } from '../vendor/signals.js'
 * @import { RefObject } from '../vendor/preact.js'
 */

const height = 260
const ridges = 12

/** @param {{ state: RuntimeState, parent: string, series: Api.SampleSeries, clock: number }} properties */
export function Heat({ state, parent, series, clock }) {
  /** @type {Signal<Api.QueryHistogramsResponse | null>} */
  const grid = useSignal(null)
  /** @type {Signal<Error | null>} */
  const error = useSignal(null)
  useEffect(() => {
    get(`/${parent}/histograms`, { key: series.key, ancestry: true, bucket_count: 300, ...state.past }).then(
      (answer) => (grid.value = answer),
      (failure) => (error.value = failure),
    )
  }, [parent, series.key, clock, state.past])
  return html`<${Problem} error=${error.value} />
    ${
      grid.value &&
      grid.value.first_steps.length > 0 &&
      html`<${HeatMap} grid=${grid.value} state=${state} name=${series.key} />`
    }`
}

/** @param {{ grid: Api.QueryHistogramsResponse, state: RuntimeState, name: string }} properties */
function HeatMap({ grid, state, name }) {
  /** @type {RefObject<HTMLCanvasElement | null>} */
  const canvas = useRef(null)
  const { first_steps: firsts, last_steps: lasts, edges } = grid
  const bins = edges.length - 1
  const at = bucketAt(grid, state.cursor.at.value?.step)
  useEffect(() => {
    const target = /** @type {HTMLCanvasElement} */ (canvas.current)
    const draw = () => paint(target, grid, bins, at)
    draw()
    const observer = new ResizeObserver(draw)
    observer.observe(target)
    const theme = matchMedia('(prefers-color-scheme: dark)')
    theme.addEventListener('change', draw)
    return () => {
      observer.disconnect()
      theme.removeEventListener('change', draw)
    }
  }, [grid, at])
  const [from, to] = [count(firsts[0]), count(lasts.at(-1))]
  const said = `${name} as a heat map: steps ${from} to ${to}, values ${number(edges[0])} to ${number(edges.at(-1))}`
  /** @param {MouseEvent} event */
  const pin = (event) => {
    const bucket = Math.floor((event.offsetX / /** @type {HTMLElement} */ (event.target).clientWidth) * firsts.length)
    state.cursor.pin(lasts[Math.min(firsts.length - 1, Math.max(0, bucket))])
  }
  return html`<figure class="heat">
    <div class="heat-scale"><span>${number(edges.at(-1))}</span><span>${number(edges[0])}</span></div>
    <canvas
      ref=${canvas}
      height=${height}
      role="img"
      aria-label=${said}
      onClick=${pin}
    ></canvas>
    <div class="heat-steps"><span>${count(firsts[0])}</span><span>${count(lasts.at(-1))}</span></div>
    <${Ridges} grid=${grid} bins=${bins} at=${at} />
  </figure>`
}

/** @param {Api.QueryHistogramsResponse} grid @param {number | undefined} step */
function bucketAt({ first_steps: firsts }, step) {
  if (step === undefined) return firsts.length - 1
  const behind = firsts.findIndex((first) => first > step)
  return behind < 0 ? firsts.length - 1 : Math.max(0, behind - 1)
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Api.QueryHistogramsResponse} grid
 * @param {number} bins
 * @param {number} at
 */
function paint(canvas, grid, bins, at) {
  const buckets = grid.first_steps.length
  const [width, ratio] = [canvas.clientWidth, devicePixelRatio]
  canvas.width = width * ratio
  canvas.height = height * ratio
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'))
  context.scale(ratio, ratio)
  const style = getComputedStyle(canvas)
  context.fillStyle = style.color
  for (let bucket = 0; bucket < buckets; bucket++) {
    const counts = grid.counts.slice(bucket * bins, (bucket + 1) * bins).map((one) => one ?? 0)
    const largest = Math.max(...counts, 1e-300)
    const [left, right] = [(bucket * width) / buckets, ((bucket + 1) * width) / buckets]
    for (let bin = 0; bin < bins; bin++) {
      if (!counts[bin]) continue
      // Few are seen too: the root of the share.
      context.globalAlpha = Math.sqrt(counts[bin] / largest)
      const top = height - ((bin + 1) * height) / bins
      context.fillRect(left, top, Math.ceil(right - left), Math.ceil(height / bins))
    }
  }
  context.globalAlpha = 1
  context.strokeStyle = style.outlineColor
  context.strokeRect((at * width) / buckets, 0.5, Math.max(2, width / buckets), height - 1)
}

/**
 * Some histograms below each other, the pinned one last.
 *
 * @param {{ grid: Api.QueryHistogramsResponse, bins: number, at: number }} properties
 */
function Ridges({ grid, bins, at }) {
  const every = Math.max(1, Math.ceil((at + 1) / ridges))
  const chosen = grid.first_steps.map((_, bucket) => bucket).filter((one) => one <= at && (at - one) % every === 0)
  return html`<div class="ridges">
    ${chosen.map((bucket) => {
      const counts = grid.counts.slice(bucket * bins, (bucket + 1) * bins).map((one) => one ?? 0)
      const largest = Math.max(...counts, 1e-300)
      const points = counts.map((one, bin) => `${bin},${(20 - (19 * one) / largest).toFixed(2)}`)
      return html`<div class="ridge">
        <span class="faint" title=${plural(grid.histogram_counts[bucket], 'histogram')}>
          ${count(grid.last_steps[bucket])}
        </span>
        <svg viewBox=${`0 0 ${bins - 1} 20`} preserveAspectRatio="none" aria-hidden="true">
          <polygon points=${`0,20 ${points.join(' ')} ${bins - 1},20`} />
        </svg>
      </div>`
    })}
  </div>`
}
