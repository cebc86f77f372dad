// @ts-check
// What of a long page is brought into sight, and stays there.

// How long what comes late above the panel, such as charts, does not move it; until somebody scrolls.
const settlingTime = 10_000
let endSettling = () => {}

/**
 * Bring what belongs to the chosen tab into sight, and keep it there while the page above it still grows.
 *
 * @param {ScrollBehavior} behavior
 */
export function toPanel(behavior = 'smooth') {
  const panel = document.querySelector('.tabs')
  if (!panel) return
  panel.scrollIntoView({ behavior })
  endSettling()
  let height = document.body.offsetHeight
  const observer = new ResizeObserver(() => {
    if (document.body.offsetHeight === height) return
    height = document.body.offsetHeight
    panel.scrollIntoView({ behavior: 'instant' })
  })
  observer.observe(document.body)
  const ended = new AbortController()
  endSettling = () => {
    observer.disconnect()
    ended.abort()
  }
  for (const scrolled of ['wheel', 'touchmove', 'pointerdown', 'keydown', 'popstate'])
    addEventListener(scrolled, endSettling, { signal: ended.signal, passive: true })
  setTimeout(endSettling, settlingTime)
}

/** Bring the charts into sight. */
export function toCharts() {
  endSettling()
  document.querySelector('.charts')?.scrollIntoView({ behavior: 'smooth' })
}
