// @ts-check
// Where the markers of the step monitor stand. Pure.

/** @typedef {'EVALUATION' | 'EPOCH_END' | 'SNAPSHOT' | 'FIRING' | 'PARAMETERS_CHANGED'} MarkerKind */
/** @typedef {Partial<Api.Marker> & { step: number, sentence?: string }} Marker */
/**
 * @typedef {{
 *   x: number,
 *   first: number,
 *   last: number,
 *   count: number,
 *   planned: boolean,
 *   markers: Marker[],
 * }} MarkerGroup
 */

export const MIN_GAP = 4

/**
 * The step at the right end of the bar: the plan's total, or some room beyond what is done.
 *
 * @param {Partial<Api.Progress> | null | undefined} progress
 */
export function barEnd(progress) {
  const done = progress?.step ?? 0
  if (progress?.total_steps) return Math.max(progress.total_steps, done)
  return Math.max(1, Math.ceil(done * 1.15))
}

/**
 * Pixels from the left end of a bar of `width` that ends with step `end`.
 *
 * @param {number} step
 * @param {number} end
 * @param {number} width
 */
export function position(step, end, width) {
  return Math.min(width, Math.max(0, (step / end) * width))
}

/**
 * Markers of one kind, in pixels; neighbours closer than 4 px and of the same tense become one group.
 *
 * Returns [{x, first, last, count, planned, markers}], left to right. A group stands where its first marker does.
 *
 * @param {Marker[]} markers
 * @param {number} end
 * @param {number} width
 * @param {number} [gap]
 */
export function layout(markers, end, width, gap = MIN_GAP) {
  const sorted = markers.slice().sort((a, b) => a.step - b.step)
  /** @type {MarkerGroup[]} */
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

/**
 * Markers split by kind: {EVALUATION: [...], EPOCH_END: [...], SNAPSHOT: [...]}.
 *
 * @param {Api.Marker[] | null | undefined} markers
 */
export function byKind(markers) {
  /** @type {Record<MarkerKind, Api.Marker[]>} */
  const kinds = { EVALUATION: [], EPOCH_END: [], SNAPSHOT: [], FIRING: [], PARAMETERS_CHANGED: [] }
  for (const marker of markers ?? []) if (marker.kind) kinds[marker.kind]?.push(marker)
  return kinds
}

/**
 * What was changed while it ran, and who asked for it.
 *
 * @param {Marker} marker
 */
export function changeSentence({ changes, actor }) {
  const said = (changes ?? []).map(({ name, old, new: now }) => `${name} ${old} → ${now}`)
  return said.join(', ') + (actor ? `, by ${actor}` : '')
}

/**
 * What rules found at a step of a trial, as markers. Those of an abandoned stretch are left out, and with `past`, of an
 * audit, those that came later.
 *
 * @param {Api.Firing[]} firings
 * @param {number} trial
 * @param {{ as_of?: string }} [past]
 */
export function firingMarkers(firings, trial, past) {
  const asOf = past?.as_of
  /** @param {Api.Firing} one */
  const known = ({ sequence, record_time }) =>
    !asOf || (/^[0-9]+$/.test(asOf) ? sequence <= Number(asOf) : Date.parse(record_time ?? '') <= Date.parse(asOf))
  /** @type {Marker[]} */
  const markers = []
  for (const one of firings) {
    const { fired, cleared } = one
    if (!fired?.step || fired.trial !== trial || cleared?.reason === 'SUPERSEDED' || !known(one)) continue
    markers.push({ step: fired.step, time: fired.occur_time, sentence: `${fired.rule_name}: ${fired.message}` })
  }
  return markers
}

/**
 * Stretches that were done twice, in steps, joined where they touch.
 *
 * @param {Api.RedoneRange[] | null | undefined} redone
 */
export function redoneStretches(redone) {
  const sorted = (redone ?? [])
    .map(({ first_step = 0, last_step = 0 }) => [first_step, last_step])
    .filter(([a, b]) => b > a)
  sorted.sort((a, b) => a[0] - b[0])
  /** @type {[number, number][]} */
  const joined = []
  for (const [first, last] of sorted) {
    const before = joined.at(-1)
    if (before && first <= before[1]) before[1] = Math.max(before[1], last)
    else joined.push([first, last])
  }
  return joined
}
