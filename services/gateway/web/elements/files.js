// @ts-check
// What a page gives out: files, pictures, and code for the clipboard.
import { csv } from '../functions/csv.js'
import { spelled } from '../functions/names.js'
import { titleOf } from '../functions/plot.js'
import { pythonQuery } from '../functions/python.js'
import { fileName } from '../functions/files.js'
import { copyText } from './button.js'

/**
 * @import { View } from '../functions/plot.js'
 * @import { Series } from '../functions/series.js'
 */

/**
 * @param {Blob} blob
 * @param {string} name
 */
export function save(blob, name) {
  const link = document.createElement('a')
  link.href = URL.createObjectURL(blob)
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

/**
 * Series as they are drawn, as comma-separated values.
 *
 * @param {Series[]} list
 * @param {string} run
 * @param {string} name
 */
export function saveSeries(list, run, name) {
  save(new Blob([csv(list)], { type: 'text/csv' }), `${fileName(run, name)}.csv`)
}

/**
 * The same points through the client library.
 *
 * @param {{ parents: string[], keys: string[], view: View | null }} query
 */
export function copyPython(query) {
  return copyText(pythonQuery(query))
}

/**
 * The drawing with its title, on the colour of the page.
 *
 * @param {uPlot} chart
 * @param {string} run
 * @param {string} name
 */
export function savePicture(chart, run, name) {
  const drawn = chart.ctx.canvas
  const ratio = devicePixelRatio
  const picture = document.createElement('canvas')
  picture.width = drawn.width
  picture.height = drawn.height + 32 * ratio
  const ctx = picture.getContext('2d')
  const card = chart.root.closest('.card')
  if (!ctx || !card) return
  const style = getComputedStyle(card)
  ctx.fillStyle = style.backgroundColor
  ctx.fillRect(0, 0, picture.width, picture.height)
  ctx.fillStyle = style.color
  ctx.font = `600 ${14 * ratio}px ${style.fontFamily}`
  ctx.fillText(`${titleOf(name)} (${spelled(name)})`, 12 * ratio, 22 * ratio)
  ctx.drawImage(drawn, 0, 32 * ratio)
  picture.toBlob((blob) => blob && save(blob, `${fileName(run, name)}.png`), 'image/png')
}
