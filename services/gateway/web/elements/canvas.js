// One uPlot, made again only when what is drawn changes in kind, not in value.
import uPlot from '../vendor/uplot.js'
import { value as number } from '../functions/format.js'
import { padded, positionOf } from '../functions/plot.js'

/** Milliseconds the last updates took, newest last: for measuring. */
export const timings = []
const timingsKept = 256
/** Pixels left of the plot, for the labels of the y axis. */
export const axisWidth = 56
// Lines that stand closer than this are left out: they would be a hatching of the whole chart.
const closestLines = { evaluation: 7, epoch: 4 }
const clickReach = 4

/** Colours as the canvas takes them: what the style sheet makes of a meaning, resolved by an element that has it. */
function colours(element) {
  const probe = element.appendChild(document.createElement('i'))
  const font = getComputedStyle(element).fontFamily
  const read = (name) => {
    probe.style.color = `var(${name})`
    return getComputedStyle(probe).color
  }
  const palette = {
    text: read('--muted'),
    grid: read('--grid'),
    superseded: read('--superseded'),
    epoch: read('--marker-epoch'),
    evaluation: read('--marker-evaluation'),
    bad: read('--failed'),
    series: Array.from({ length: 10 }, (_, i) => read(`--series-${i + 1}`)),
    font: `11px ${font}`,
  }
  probe.remove()
  return palette
}

/**
 * Draws into `root`. `events`: onCursor(index-free {x, left, top} or null), onPin(), onSelect(low, high), onBack(),
 * onPan(low, high), onWheel(low, high).
 */
export class Canvas {
  constructor(root, events) {
    this.root = root
    this.events = events
    this.plot = null
    this.view = null
    this.lines = []
    this.kind = ''
    // New data moves the cursor too; only what a pointer over this chart does is a wish of somebody.
    this.pointed = false
  }

  destroy() {
    this.chart?.destroy()
    this.chart = undefined
  }

  /** `options`: {axis, scale, linear, appearance, width, height}; `view` is [low, high] in the axis' unit or null. */
  update(plot, view, lines, options) {
    const begun = performance.now()
    this.plot = plot
    this.view = view
    this.lines = lines
    const traces = plot.traces.map((trace) => `${trace.superseded ? 's' : 'l'}${trace.colour}${trace.smooth ? '+' : ''}`)
    const kind = [options.axis, options.scale, options.linear, options.appearance, ...traces].join()
    if (kind !== this.kind || !this.chart) {
      this.destroy()
      this.kind = kind
      this.#create(options)
    } else {
      if (options.width !== this.chart.width || options.height !== this.chart.height) this.chart.setSize({ width: options.width, height: options.height })
      this.chart.setData(plot.data, true)
    }
    // uPlot draws in a microtask that stands before this one.
    queueMicrotask(() => {
      timings.push(performance.now() - begun)
      if (timings.length > timingsKept) timings.shift()
    })
  }

  /** Put the cursor at a step, without telling anybody. */
  showStep(step, axis) {
    if (!this.chart) return
    const x = step === undefined ? undefined : positionOf(this.plot.traces, step, axis)
    const at = x === undefined || x === null ? { left: -10, top: -10 } : { left: this.chart.valToPos(x, 'x'), top: 0 }
    this.chart.setCursor(at, false)
  }

  /** Left edge, in the pixels of the plot, of a position; for tests and tooltips. */
  left(x) {
    return this.chart.valToPos(x, 'x')
  }

  #create({ axis, scale, linear, width, height }) {
    const palette = colours(this.root)
    const { series, bands } = this.#series(palette)
    const axisLook = { stroke: palette.text, font: palette.font, grid: { stroke: palette.grid, width: 1 }, ticks: { show: false } }
    this.chart = new uPlot(
      {
        width,
        height,
        // Half a label has room beside the last tick.
        padding: [10, 20, 0, 0],
        legend: { show: false },
        cursor: {
          y: false,
          drag: { x: true, y: false, setScale: false },
          points: { size: 7, width: 2, fill: palette.grid, show: (u, i) => this.#hasPoint(i) && undefined },
          bind: { mousedown: (u, target, handler) => this.#onMouseDown(u, handler), dblclick: () => () => this.events.onBack() },
        },
        scales: {
          x: { time: axis === 'wall', range: () => this.#xRange() },
          y: { distr: scale === 'log' ? 3 : scale === 'symlog' ? 4 : 1, log: 10, asinh: linear, range: (u, low, high) => padded(low, high, scale) },
        },
        axes: [
          { ...axisLook, grid: { show: false }, size: 28, gap: 6, space: 64, ...(axis === 'wall' ? {} : { values: (u, splits) => splits.map((x) => tick(x, axis)) }) },
          { ...axisLook, size: axisWidth, gap: 6, space: 34, values: (u, splits) => splits.map((y) => (y === null ? '' : number(y, 4))) },
        ],
        series,
        bands,
        hooks: {
          drawAxes: [(u) => this.#drawLines(u, palette)],
          draw: [(u) => this.#drawOdd(u, palette)],
          setCursor: [(u) => this.pointed && this.events.onCursor(u.cursor.left >= 0 ? { left: u.cursor.left, top: u.cursor.top, x: u.posToVal(u.cursor.left, 'x') } : null)],
          setSelect: [(u) => this.#onSelect(u)],
        },
      },
      this.plot.data,
      this.root,
    )
    // For people who look behind the page, and for tests.
    this.root.plot = this.chart
    this.#listen(this.chart.over)
  }

  #listen(over) {
    let pressedAt
    over.addEventListener('wheel', (event) => this.#onWheel(event), { passive: false })
    over.addEventListener('mousemove', () => (this.pointed = true), { capture: true })
    over.addEventListener('mouseleave', () => (this.pointed = false))
    over.addEventListener('mousedown', (event) => (pressedAt = event.clientX), { capture: true })
    over.addEventListener('click', (event) => {
      if (!event.shiftKey && Math.abs(event.clientX - pressedAt) < clickReach) this.events.onPin()
    })
  }

  #series(palette) {
    const series = [{}]
    const bands = []
    for (const trace of this.plot.traces) {
      const colour = palette.series[trace.colour % palette.series.length]
      const look = { spanGaps: false, points: { show: false } }
      if (trace.superseded) {
        series.push({ ...look, stroke: palette.superseded, width: 1.25, dash: [5, 4] })
        continue
      }
      bands.push({ series: [series.length, series.length + 1], fill: fade(colour, 0.22) })
      series.push({ ...look, stroke: 'transparent', width: 0 }, { ...look, stroke: 'transparent', width: 0 })
      const few = { show: (u, i) => pointsWanted(u, i), size: 5, fill: colour, stroke: colour }
      series.push({ ...look, stroke: trace.smooth ? fade(colour, 0.38) : colour, width: trace.smooth ? 1 : 1.75, points: few })
      series.push({ ...look, stroke: colour, width: 2 })
    }
    return { series, bands }
  }

  /** The cursor has a point on lines only, not on the edges of bands. */
  #hasPoint(i) {
    const trace = this.plot.traces.findLast((one) => one.first <= i)
    return trace && (trace.superseded || i - trace.first >= 2)
  }

  #xRange() {
    if (this.view) return this.view
    const xs = this.plot.data[0]
    if (xs.length === 0) return [0, 1]
    const low = xs[0]
    const high = xs[xs.length - 1]
    return low === high ? [low - 1, high + 1] : [low, high]
  }

  #onSelect(u) {
    const { left, width } = u.select
    if (width < 4) return
    this.events.onSelect(u.posToVal(left, 'x'), u.posToVal(left + width, 'x'))
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
  }

  #onMouseDown(u, handler) {
    return (event) => {
      if (!event.shiftKey) return handler(event)
      const { min, max } = u.scales.x
      const from = event.clientX
      const perPixel = (max - min) / u.over.clientWidth
      const move = (moved) => {
        const by = (from - moved.clientX) * perPixel
        this.events.onPan(min + by, max + by)
      }
      const up = () => {
        window.removeEventListener('pointermove', move)
        window.removeEventListener('pointerup', up)
      }
      window.addEventListener('pointermove', move)
      window.addEventListener('pointerup', up)
      return null
    }
  }

  #onWheel(event) {
    if (!event.ctrlKey) return
    event.preventDefault()
    const u = this.chart
    const { min, max } = u.scales.x
    const middle = u.posToVal(event.clientX - u.over.getBoundingClientRect().left, 'x')
    const factor = event.deltaY < 0 ? 0.8 : 1.25
    this.events.onWheel(middle - (middle - min) * factor, middle + (max - middle) * factor)
  }

  /** Epoch and evaluation lines, behind everything. */
  #drawLines(u, palette) {
    const { ctx, bbox } = u
    const seen = this.lines.map(({ x, kind }) => ({ kind, at: Math.round(u.valToPos(x, 'x', true)) + 0.5 })).filter(({ at }) => at >= bbox.left && at <= bbox.left + bbox.width)
    const number = { evaluation: 0, epoch: 0 }
    for (const { kind } of seen) number[kind] += 1
    ctx.save()
    for (const { at, kind } of seen) {
      if (number[kind] * closestLines[kind] * devicePixelRatio > bbox.width) continue
      ctx.strokeStyle = kind === 'epoch' ? palette.epoch : palette.evaluation
      ctx.lineWidth = devicePixelRatio
      ctx.setLineDash(kind === 'epoch' ? [] : [2 * devicePixelRatio, 3 * devicePixelRatio])
      ctx.beginPath()
      ctx.moveTo(at, bbox.top)
      ctx.lineTo(at, bbox.top + bbox.height)
      ctx.stroke()
    }
    ctx.restore()
  }

  /** Values that are not finite, at the edge: infinities where they point, NaN as a cross at the bottom. */
  #drawOdd(u, palette) {
    const { ctx, bbox } = u
    const size = 5 * devicePixelRatio
    ctx.save()
    ctx.fillStyle = palette.bad
    ctx.strokeStyle = palette.bad
    ctx.lineWidth = 1.8 * devicePixelRatio
    const bottom = bbox.top + bbox.height
    const drawn = {}
    for (const { x, kind, superseded } of this.plot.odd) {
      const at = u.valToPos(x, 'x', true)
      if (at < bbox.left - 1 || at > bbox.left + bbox.width + 1) continue
      const edge = kind === 'positive' ? bbox.top : bottom
      // Where they follow closely: one line along the edge after the first marker.
      if (drawn[kind] && at - drawn[kind].at < size * 2.4) {
        ctx.globalAlpha = 0.55
        ctx.fillRect(drawn[kind].to, edge - 1.5 * devicePixelRatio, at - drawn[kind].to, 3 * devicePixelRatio)
        drawn[kind] = { at, to: at }
        continue
      }
      drawn[kind] = { at, to: at }
      ctx.globalAlpha = superseded ? 0.4 : 1
      ctx.beginPath()
      if (kind === 'nan') {
        const y = bottom - size - 1
        ctx.moveTo(at - size * 0.7, y - size * 0.7)
        ctx.lineTo(at + size * 0.7, y + size * 0.7)
        ctx.moveTo(at + size * 0.7, y - size * 0.7)
        ctx.lineTo(at - size * 0.7, y + size * 0.7)
        ctx.stroke()
      } else {
        const up = kind === 'positive'
        const tip = edge
        const base = up ? tip + size * 1.5 : tip - size * 1.5
        ctx.moveTo(at, tip)
        ctx.lineTo(at + size, base)
        ctx.lineTo(at - size, base)
        ctx.fill()
      }
    }
    ctx.restore()
  }
}

/** Points are drawn where lines would hide that there are few. */
function pointsWanted(u, i) {
  const [from, to] = u.series[0].idxs ?? [0, 0]
  const values = u.data[i]
  let found = 0
  for (let at = from; at <= to; at += 1) if (values[at] !== null && values[at] !== undefined) found += 1
  return found > 0 && found <= 60
}

function fade(colour, alpha) {
  return `color-mix(in srgb, ${colour} ${alpha * 100}%, transparent)`
}

function tick(x, axis) {
  if (axis === 'time') return seconds(x)
  // There is nothing between two steps.
  if (axis === 'step' && !Number.isInteger(x)) return ''
  return x >= 1e6 ? `${Number((x / 1e6).toPrecision(4))}M` : x >= 1e4 ? `${Number((x / 1e3).toPrecision(4))}k` : String(Number(x.toPrecision(6)))
}

function seconds(x) {
  if (x < 60) return `${Number(x.toPrecision(4))}s`
  if (x < 3600) return `${Number((x / 60).toPrecision(4))}m`
  return `${Number((x / 3600).toPrecision(4))}h`
}

