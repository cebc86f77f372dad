// @ts-check
// One uPlot, made again only when what is drawn changes in kind, not in value.
import uPlot from '../vendor/uplot.js'
import { value as number } from '../functions/format.js'
import { padded, positionOf } from '../functions/plot.js'

/**
 * @import { Plot, Scale } from '../functions/plot.js'
 * @import { Axis } from '../functions/series.js'
 * @import { Format } from '../functions/units.js'
 */
/** @typedef {{ left: number, top: number, x: number }} Pointed */
/** @typedef {{ kind: 'evaluation' | 'epoch' | 'firing' | 'change', x: number, sentence?: string }} Line */
/**
 * @typedef {{
 *   axis: Axis,
 *   scale: Scale,
 *   linear: number,
 *   appearance: number,
 *   width: number,
 *   height: number,
 * }} Options
 */
/**
 * @typedef {{
 *   onCursor: (at: Pointed | null) => void,
 *   onPin: () => void,
 *   onBack: () => void,
 *   onSelect: Span,
 *   onPan: Span,
 *   onWheel: Span,
 * }} Events
 */
/** @typedef {(low: number, high: number) => void} Span */
/** @typedef {ReturnType<typeof colours>} Palette */

/**
 * Milliseconds the last updates took, newest last: for measuring.
 *
 * @type {number[]}
 */
export const timings = []
const timingsKept = 256
/** Pixels left of the plot, for the labels of the y axis. */
export const axisWidth = 56
// Lines that stand closer than this are left out: they would be a hatching of the whole chart.
const closestLines = { evaluation: 7, epoch: 4, firing: 4, change: 4 }
const clickReach = 4

/**
 * Colours as the canvas takes them: what the style sheet makes of a meaning, resolved by an element that has it.
 *
 * @param {HTMLElement} element
 */
function colours(element) {
  const probe = element.appendChild(document.createElement('i'))
  const font = getComputedStyle(element).fontFamily
  /** @param {string} name */
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
    firing: read('--marker-firing'),
    change: read('--marker-change'),
    bad: read('--failed'),
    band: Number(getComputedStyle(element).getPropertyValue('--band')) || 0.3,
    series: Array.from({ length: 10 }, (_, i) => read(`--series-${i + 1}`)),
    font: `11px ${font}`,
  }
  probe.remove()
  return palette
}

/**
 * Draws into `root`. `events`: onCursor(index-free {x, left, top} or null), onPin(), onSelect(low, high), onBack(),
 * onPan(low, high), onWheel(low, high). `format` writes the values beside the y axis.
 */
export class Canvas {
  /**
   * @param {HTMLElement} root
   * @param {Events} events
   * @param {Format} [format]
   */
  constructor(root, events, format = number) {
    this.root = root
    this.format = format
    this.events = events
    /** @type {Plot} */
    this.plot = { data: [[]], traces: [], odd: [] }
    /** @type {[number, number] | null} */
    this.view = null
    /** @type {Line[]} */
    this.lines = []
    this.kind = ''
    // New data moves the cursor too; only what a pointer over this chart does is a wish of somebody.
    this.pointed = false
  }

  destroy() {
    this.chart?.destroy()
    this.chart = undefined
  }

  /**
   * `options`: {axis, scale, linear, appearance, width, height}; `view` is [low, high] in the axis' unit or null.
   *
   * @param {Plot} plot
   * @param {[number, number] | null} view
   * @param {Line[]} lines
   * @param {Options} options
   */
  update(plot, view, lines, options) {
    const begun = performance.now()
    this.plot = plot
    this.view = view
    this.lines = lines
    const traces = plot.traces.map(
      (trace) => `${trace.superseded ? 's' : trace.trunk ? 't' : 'l'}${trace.colour}${trace.smooth ? '+' : ''}`,
    )
    const kind = [options.axis, options.scale, options.linear, options.appearance, ...traces].join()
    if (kind !== this.kind || !this.chart) {
      // A pointer that stands still over the chart does not enter the new one until it moves.
      const { left = -10, top = -10 } = this.chart?.cursor ?? {}
      this.destroy()
      this.kind = kind
      this.#create(options)
      if (this.pointed) this.chart?.setCursor({ left, top })
    } else {
      if (options.width !== this.chart.width || options.height !== this.chart.height)
        this.chart.setSize({ width: options.width, height: options.height })
      this.chart.setData(/** @type {uPlot.AlignedData} */ (plot.data), true)
    }
    // uPlot draws in a microtask that stands before this one.
    queueMicrotask(() => {
      timings.push(performance.now() - begun)
      if (timings.length > timingsKept) timings.shift()
    })
  }

  /**
   * Put the cursor at a step, without telling anybody.
   *
   * @param {number | undefined} step
   * @param {Axis} axis
   */
  showStep(step, axis) {
    if (!this.chart) return
    const x = step === undefined ? undefined : positionOf(this.plot.traces, step, axis)
    const at = x === undefined || x === null ? { left: -10, top: -10 } : { left: this.chart.valToPos(x, 'x'), top: 0 }
    this.chart.setCursor(at, false)
  }

  /**
   * Left edge, in the pixels of the plot, of a position; for tests and tooltips.
   *
   * @param {number} x
   */
  left(x) {
    return this.chart?.valToPos(x, 'x') ?? NaN
  }

  /** @param {Options} parts */
  #create({ axis, scale, linear, width, height }) {
    const palette = colours(this.root)
    const { series, bands } = this.#series(palette)
    /** @type {uPlot.Axis} */
    const steps = axis === 'wall' ? {} : { values: (u, splits) => splits.map((x) => tick(x, axis)) }
    const axisLook = {
      stroke: palette.text,
      font: palette.font,
      grid: { stroke: palette.grid, width: 1 },
      ticks: { show: false },
    }
    /** @type {(u: uPlot, i: number) => unknown} What is false has no point; what is undefined has the usual one. */
    const pointed = (u, i) => this.#hasPoint(i) && undefined
    /** @type {uPlot.Options} */
    const look = {
      width,
      height,
      // Half a label has room beside the last tick.
      padding: [10, 20, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false },
        points: { size: 7, width: 2, fill: palette.grid, show: /** @type {uPlot.Cursor.Points.Show} */ (pointed) },
        bind: {
          mousedown: (u, target, handler) => this.#onMouseDown(u, handler),
          dblclick: () => () => {
            this.events.onBack()
            return null
          },
        },
      },
      scales: {
        x: { time: axis === 'wall', range: () => this.#xRange() },
        y: {
          distr: scale === 'log' ? 3 : scale === 'symlog' ? 4 : 1,
          log: 10,
          asinh: linear,
          range: (u, low, high) => padded(low, high, scale),
        },
      },
      axes: [
        {
          ...axisLook,
          grid: { show: false },
          size: 28,
          gap: 6,
          space: 64,
          ...steps,
        },
        {
          ...axisLook,
          size: axisWidth,
          gap: 6,
          space: 34,
          values: (u, splits) => splits.map((y) => (y === null ? '' : this.format(y, 4))),
        },
      ],
      series,
      bands,
      hooks: {
        drawAxes: [(u) => this.#drawLines(u, palette)],
        draw: [(u) => this.#drawOdd(u, palette)],
        setCursor: [(u) => this.pointed && this.events.onCursor(pointedAt(u))],
        setSelect: [(u) => this.#onSelect(u)],
      },
    }
    const chart = new uPlot(look, /** @type {uPlot.AlignedData} */ (this.plot.data), this.root)
    this.chart = chart
    // For people who look behind the page, and for tests.
    Object.assign(this.root, { plot: chart })
    this.#listen(chart.over)
  }

  /** @param {HTMLElement} over */
  #listen(over) {
    let pressedAt = NaN
    over.addEventListener('wheel', (event) => this.#onWheel(event), { passive: false })
    over.addEventListener('mousemove', () => (this.pointed = true), { capture: true })
    over.addEventListener('mouseleave', () => (this.pointed = false))
    over.addEventListener('mousedown', (event) => (pressedAt = event.clientX), { capture: true })
    over.addEventListener('click', (event) => {
      if (!event.shiftKey && Math.abs(event.clientX - pressedAt) < clickReach) this.events.onPin()
    })
  }

  /** @param {Palette} palette */
  #series(palette) {
    /** @type {uPlot.Series[]} */
    const series = [{}]
    /** @type {uPlot.Band[]} */
    const bands = []
    for (const trace of this.plot.traces) {
      const colour =
        typeof trace.colour === 'string' ? trace.colour : palette.series[trace.colour % palette.series.length]
      const look = { spanGaps: false, points: { show: false } }
      if (trace.superseded) {
        series.push({ ...look, stroke: palette.superseded, width: 1.25, dash: [5, 4] })
        continue
      }
      if (trace.trunk) {
        series.push({ ...look, stroke: fade(colour, 0.38), width: 1.5 })
        continue
      }
      bands.push({ series: [series.length, series.length + 1], fill: fade(colour, palette.band) })
      // The edges are drawn: a spike of one step in a bucket of a thousand would be a hair of a faint area.
      const edge = { ...look, stroke: fade(colour, 2 * palette.band), width: 1 }
      series.push(edge, edge)
      /** @type {uPlot.Series.Points} */
      const few = { show: (u, i) => pointsWanted(u, i), size: 5, fill: colour, stroke: colour }
      series.push({
        ...look,
        stroke: trace.smooth ? fade(colour, 0.38) : colour,
        width: trace.smooth ? 1 : 1.75,
        points: few,
      })
      series.push({ ...look, stroke: colour, width: 2 })
    }
    return { series, bands }
  }

  /**
   * The cursor has a point on lines only, not on the edges of bands.
   *
   * @param {number} i
   */
  #hasPoint(i) {
    const trace = this.plot.traces.findLast((one) => one.first <= i)
    return trace && (trace.superseded || trace.trunk || i - trace.first >= 2)
  }

  /** @returns {[number, number]} */
  #xRange() {
    if (this.view) return this.view
    const xs = this.plot.data[0]
    if (xs.length === 0) return [0, 1]
    const low = xs[0]
    const high = xs[xs.length - 1]
    return low === high ? [low - 1, high + 1] : [low, high]
  }

  /** @param {uPlot} u */
  #onSelect(u) {
    const { left, width } = u.select
    if (width < 4) return
    this.events.onSelect(u.posToVal(left, 'x'), u.posToVal(left + width, 'x'))
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
  }

  /**
   * @param {uPlot} u
   * @param {(event: MouseEvent) => null} handler
   */
  #onMouseDown(u, handler) {
    /** @param {MouseEvent} event */
    return (event) => {
      if (!event.shiftKey) return handler(event)
      const { min = 0, max = 1 } = u.scales.x
      const from = event.clientX
      const perPixel = (max - min) / u.over.clientWidth
      /** @param {PointerEvent} moved */
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

  /** @param {WheelEvent} event */
  #onWheel(event) {
    if (!event.ctrlKey) return
    event.preventDefault()
    const u = this.chart
    if (!u) return
    const { min = 0, max = 1 } = u.scales.x
    const middle = u.posToVal(event.clientX - u.over.getBoundingClientRect().left, 'x')
    const factor = event.deltaY < 0 ? 0.8 : 1.25
    this.events.onWheel(middle - (middle - min) * factor, middle + (max - middle) * factor)
  }

  /**
   * Lines of epochs, evaluations and firings, behind everything. What a rule found has a diamond on top.
   *
   * @param {uPlot} u
   * @param {Palette} palette
   */
  #drawLines(u, palette) {
    const { ctx, bbox } = u
    const seen = this.lines
      .map(({ x, kind }) => ({ kind, at: Math.round(u.valToPos(x, 'x', true)) + 0.5 }))
      .filter(({ at }) => at >= bbox.left && at <= bbox.left + bbox.width)
    const number = { evaluation: 0, epoch: 0, firing: 0, change: 0 }
    for (const { kind } of seen) number[kind] += 1
    ctx.save()
    for (const { at, kind } of seen) {
      if (number[kind] * closestLines[kind] * devicePixelRatio > bbox.width) continue
      ctx.strokeStyle = ctx.fillStyle = palette[kind]
      ctx.lineWidth = devicePixelRatio
      ctx.setLineDash(kind === 'evaluation' ? [2 * devicePixelRatio, 3 * devicePixelRatio] : [])
      ctx.beginPath()
      ctx.moveTo(at, bbox.top)
      ctx.lineTo(at, bbox.top + bbox.height)
      ctx.stroke()
      if (kind === 'firing' || kind === 'change') drawDiamond(ctx, at, bbox.top, 4 * devicePixelRatio)
    }
    ctx.restore()
  }

  /**
   * Values that are not finite, at the edge: infinities where they point, NaN as a cross at the bottom.
   *
   * @param {uPlot} u
   * @param {Palette} palette
   */
  #drawOdd(u, palette) {
    const { ctx, bbox } = u
    const size = 5 * devicePixelRatio
    ctx.save()
    ctx.fillStyle = palette.bad
    ctx.strokeStyle = palette.bad
    ctx.lineWidth = 1.8 * devicePixelRatio
    const bottom = bbox.top + bbox.height
    /** @type {Partial<Record<string, { at: number, to: number }>>} */
    const drawn = {}
    for (const { x, kind, superseded } of this.plot.odd) {
      const at = u.valToPos(x, 'x', true)
      if (at < bbox.left - 1 || at > bbox.left + bbox.width + 1) continue
      const edge = kind === 'positive' ? bbox.top : bottom
      // Where they follow closely: one line along the edge after the first marker.
      const before = drawn[kind]
      if (before && at - before.at < size * 2.4) {
        ctx.globalAlpha = 0.55
        ctx.fillRect(before.to, edge - 1.5 * devicePixelRatio, at - before.to, 3 * devicePixelRatio)
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

/**
 * @param {CanvasRenderingContext2D} ctx
 * @param {number} x
 * @param {number} y
 * @param {number} size
 */
function drawDiamond(ctx, x, y, size) {
  ctx.beginPath()
  ctx.moveTo(x, y - size)
  ctx.lineTo(x + size, y)
  ctx.lineTo(x, y + size)
  ctx.lineTo(x - size, y)
  ctx.fill()
}

/**
 * @param {uPlot} u
 * @returns {Pointed | null}
 */
function pointedAt(u) {
  const { left = -1, top = 0 } = u.cursor
  return left >= 0 ? { left, top, x: u.posToVal(left, 'x') } : null
}

/**
 * Points are drawn where lines would hide that there are few.
 *
 * @param {uPlot} u
 * @param {number} i
 */
function pointsWanted(u, i) {
  const [from, to] = u.series[0].idxs ?? [0, 0]
  const values = u.data[i]
  let found = 0
  for (let at = from; at <= to; at += 1) if (values[at] !== null && values[at] !== undefined) found += 1
  return found > 0 && found <= 60
}

/**
 * @param {string} colour
 * @param {number} alpha
 */
function fade(colour, alpha) {
  return `color-mix(in srgb, ${colour} ${alpha * 100}%, transparent)`
}

/**
 * @param {number} x
 * @param {Axis} axis
 */
function tick(x, axis) {
  if (axis === 'time') return seconds(x)
  // There is nothing between two steps.
  if (axis === 'step' && !Number.isInteger(x)) return ''
  return x >= 1e6
    ? `${Number((x / 1e6).toPrecision(4))}M`
    : x >= 1e4
      ? `${Number((x / 1e3).toPrecision(4))}k`
      : String(Number(x.toPrecision(6)))
}

/** @param {number} x */
function seconds(x) {
  if (x < 60) return `${Number(x.toPrecision(4))}s`
  if (x < 3600) return `${Number((x / 60).toPrecision(4))}m`
  return `${Number((x / 3600).toPrecision(4))}h`
}
