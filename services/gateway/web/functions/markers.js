// Where the markers of the step monitor stand. Pure.

export const MINIMUM_GAP = 4

/** The step at the right end of the bar: the plan's total, or some room beyond what is done. */
export function barEnd(progress) {
  const done = progress?.step ?? 0
  if (progress?.total_steps) return Math.max(progress.total_steps, done)
  return Math.max(1, Math.ceil(done * 1.15))
}

/** Pixels from the left end of a bar of `width` that ends with step `end`. */
export function position(step, end, width) {
  return Math.min(width, Math.max(0, (step / end) * width))
}

/**
 * Markers of one kind, in pixels; neighbours closer than 4 px and of the same tense become one group.
 *
 * Returns [{x, first, last, count, planned, markers}], left to right. A group stands where its first marker does.
 */
export function layout(markers, end, width, gap = MINIMUM_GAP) {
  const sorted = markers.slice().sort((a, b) => a.step - b.step)
  const groups = []
  for (const marker of sorted) {
    const x = position(marker.step, end, width)
    const group = groups.at(-1)
    const planned = Boolean(marker.planned)
    if (group && group.planned === planned && x - group.x < gap) {
      group.last = marker.step
      group.count += 1
      group.markers.push(marker)
    } else {
      groups.push({ x, first: marker.step, last: marker.step, count: 1, planned, markers: [marker] })
    }
  }
  return groups
}

/** Markers split by kind: {EVALUATION: [...], EPOCH_END: [...], SNAPSHOT: [...]}. */
export function byKind(markers) {
  const kinds = { EVALUATION: [], EPOCH_END: [], SNAPSHOT: [] }
  for (const marker of markers ?? []) kinds[marker.kind]?.push(marker)
  return kinds
}

/** Stretches that were done twice, in steps, joined where they touch. */
export function redoneStretches(redone) {
  const sorted = (redone ?? []).map(({ first_step = 0, last_step = 0 }) => [first_step, last_step]).filter(([a, b]) => b > a)
  sorted.sort((a, b) => a[0] - b[0])
  const joined = []
  for (const [first, last] of sorted) {
    const before = joined.at(-1)
    if (before && first <= before[1]) before[1] = Math.max(before[1], last)
    else joined.push([first, last])
  }
  return joined
}
