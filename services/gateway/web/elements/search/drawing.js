// @ts-check
// A canvas as large as its frame, drawn anew when that, what is drawn or the colours change.
import { useEffect, useRef, useSignal } from '../../html.js'
import { appearance } from '../../state/preferences.js'

/** @import { RefObject } from '../../vendor/preact.js' */
/** @typedef {{ width: number, height: number }} Size */
/** @typedef {(name: string) => string} Colour */
/** @typedef {(context: CanvasRenderingContext2D, size: Size, colour: Colour) => void} Draw */

/**
 * Returns the references of the frame and of the canvas in it, and their size. `data-milliseconds` of the canvas says
 * how long it took to draw: for measuring.
 *
 * @param {Draw} draw
 * @param {unknown[]} inputs what it depends on
 */
export function useDrawing(draw, inputs) {
  /** @type {RefObject<HTMLElement | null>} */
  const frame = useRef(null)
  /** @type {RefObject<HTMLCanvasElement | null>} */
  const canvas = useRef(null)
  const size = useSignal({ width: 0, height: 0 })
  useEffect(() => {
    if (!frame.current) return
    const observer = new ResizeObserver(([{ contentRect }]) => {
      const { width, height } = contentRect
      if (width !== size.peek().width || height !== size.peek().height) size.value = { width, height }
    })
    observer.observe(frame.current)
    return () => observer.disconnect()
  }, [])
  const { width, height } = size.value
  const look = appearance.value
  useEffect(() => {
    const element = canvas.current
    const context = element?.getContext('2d')
    if (!element || !context || width === 0) return
    const began = performance.now()
    const ratio = window.devicePixelRatio || 1
    element.width = Math.round(width * ratio)
    element.height = Math.round(height * ratio)
    context.setTransform(ratio, 0, 0, ratio, 0, 0)
    context.font = `11px ${getComputedStyle(element).fontFamily}`
    draw(context, { width, height }, colourOf(element))
    element.dataset.milliseconds = (performance.now() - began).toFixed(1)
  }, [width, height, look, ...inputs])
  return { frame, canvas, size: size.value }
}

/**
 * What the style sheet makes of a meaning: its names say what differs between light and dark, a canvas knows neither.
 *
 * @param {HTMLElement} element
 * @returns {Colour}
 */
function colourOf(element) {
  /** @type {Map<string, string>} */
  const known = new Map()
  return (name) => {
    const found = known.get(name)
    if (found) return found
    element.style.color = `var(${name})`
    const { color } = getComputedStyle(element)
    element.style.color = ''
    known.set(name, color)
    return color
  }
}
