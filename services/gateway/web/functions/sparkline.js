// @ts-check
// A few values as the path of a small line. Pure.

/**
 * SVG path over `width` x `height`; values that are not finite are gaps.
 *
 * @param {number[]} values
 * @param {number} width
 * @param {number} height
 */
export function sparkPath(values, width, height) {
  const finite = values.filter((value) => Number.isFinite(value))
  if (finite.length < 2) return ''
  const low = Math.min(...finite)
  const range = Math.max(...finite) - low || 1
  const step = width / (values.length - 1)
  let path = ''
  let pen = false
  values.forEach((value, i) => {
    if (!Number.isFinite(value)) {
      pen = false
      return
    }
    const y = height - ((value - low) / range) * height
    path += `${pen ? 'L' : 'M'}${(i * step).toFixed(1)} ${y.toFixed(1)}`
    pen = true
  })
  return path
}
