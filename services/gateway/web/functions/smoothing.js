// @ts-check
// Exponential moving average over unevenly spaced points, without the bias of its start. Pure.

/**
 * Median distance between neighbours. 1 when there are fewer than two points.
 *
 * @param {ArrayLike<number>} xs
 */
export function typicalSpacing(xs) {
  if (xs.length < 2) return 1
  /** @type {number[]} */
  const gaps = []
  const stride = Math.max(1, Math.floor(xs.length / 1000))
  for (let i = stride; i < xs.length; i += stride) gaps.push((xs[i] - xs[i - stride]) / stride)
  gaps.sort((a, b) => a - b)
  return gaps[gaps.length >> 1] || 1
}

/**
 * Smooth `ys` over `xs` with `weight` (0: none, towards 1: more).
 *
 * Before each point the past is discounted by weight^(distance / spacing), so twice the distance forgets twice; the sum
 * of weights divides, so that the start is not pulled to zero and a constant stays constant. Values that are not finite
 * are passed over and come back as they are.
 *
 * @param {ArrayLike<number>} xs
 * @param {number[]} ys
 * @param {number} weight
 * @param {number} [spacing]
 * @returns {number[]}
 */
export function smooth(xs, ys, weight, spacing = typicalSpacing(xs)) {
  if (!(weight > 0)) return ys.slice()
  const result = new Array(ys.length)
  let average = 0
  let mass = 0
  /** @type {number | undefined} */
  let previous
  for (let i = 0; i < ys.length; i += 1) {
    const y = ys[i]
    if (y === null || y === undefined || !Number.isFinite(y)) {
      result[i] = y
      continue
    }
    const keep = previous === undefined ? 0 : weight ** (Math.max(0, xs[i] - previous) / spacing)
    mass = mass * keep + (1 - weight)
    // As a step from the old average: exact for a constant, whatever the rounding.
    average = previous === undefined ? y : average + ((1 - weight) / mass) * (y - average)
    previous = xs[i]
    result[i] = average
  }
  return result
}
