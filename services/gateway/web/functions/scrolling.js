// @ts-check
// Which rows of a long list are in sight. Pure.

// Browsers stop at some 17 million pixels; beyond that one pixel of the scroll bar stands for more than one of the
// list.
export const spaceLimit = 15_000_000
const overscan = 12

/**
 * `top` is the scroll position in pixels. Returns {space, first, last, offset, scrollTo}: the height to scroll over,
 * the rows to draw (last excluded), where the first of them stands, and the scroll position that has a row at the top.
 *
 * @param {{ total: number, rowHeight: number, top: number, height: number }} parts
 */
export function visibleRows({ total, rowHeight, top, height }) {
  const wanted = total * rowHeight
  const space = Math.min(wanted, spaceLimit)
  const reach = Math.max(1, space - height)
  const scale = space === wanted ? 1 : (wanted - height) / reach
  const position = Math.min(Math.max(0, top), reach) * scale
  const first = Math.max(0, Math.floor(position / rowHeight) - overscan)
  const last = Math.min(total, Math.ceil((position + height) / rowHeight) + overscan)
  return {
    space,
    first,
    last,
    // Rows keep their distance to the upper edge of what is in sight.
    offset: first * rowHeight - position + Math.min(Math.max(0, top), reach),
    scrollTo: (/** @type {number} */ row) => Math.min(reach, (row * rowHeight) / scale),
  }
}
