// @ts-check
// Where the page is. The URL holds the state: path and query, and nothing else does.
import { computed, signal } from '../vendor/signals.js'
import { address, placeOfMlflow, route } from '../functions/query.js'

/** @import { Query } from '../functions/query.js' */

followMlflow()
const here = signal(read())

/** An address that a client of MLflow printed has its place behind the #, which no server sees. */
function followMlflow() {
  const place = placeOfMlflow(window.location.hash)
  if (place) history.replaceState(null, '', place)
}

function read() {
  return { path: window.location.pathname, query: new URLSearchParams(window.location.search) }
}

window.addEventListener('popstate', () => {
  followMlflow()
  here.value = read()
})

export const path = computed(() => here.value.path)
export const current = computed(() => route(path.value))

/**
 * The value of a query parameter, or "".
 *
 * @param {string} name
 */
export function parameter(name) {
  return here.value.query.get(name) ?? ''
}

/**
 * Go to another page.
 *
 * @param {string} target
 */
export function navigate(target) {
  const url = new URL(target, window.location.href)
  history.pushState(null, '', url)
  here.value = read()
  window.scrollTo(0, 0)
}

/**
 * Change parameters of the page one is on; empty ones are removed. A step `back` leads to the state before with `push`.
 *
 * @param {Query} changes
 * @param {{ push?: boolean }} [parts]
 */
export function setParameters(changes, { push = false } = {}) {
  const values = Object.fromEntries(new URLSearchParams(window.location.search))
  const target = address(window.location.pathname, { ...values, ...changes })
  if (target === window.location.pathname + window.location.search) return
  if (push) history.pushState(null, '', target)
  else history.replaceState(null, '', target)
  here.value = read()
}

/**
 * Links inside the page change it without loading it again.
 *
 * @param {Document} root
 */
export function followLinks(root) {
  root.addEventListener('click', (event) => {
    if (
      event.defaultPrevented ||
      event.button !== 0 ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return
    const target = event.target instanceof Element ? event.target : undefined
    /** @type {HTMLAnchorElement | null | undefined} */
    const link = target?.closest('a[href]')
    if (!link || link.target || link.hasAttribute('download') || link.origin !== window.location.origin) return
    const known = route(link.pathname).page !== 'unknown'
    if (!known) return
    event.preventDefault()
    if (link.href !== window.location.href) navigate(link.href)
  })
}
