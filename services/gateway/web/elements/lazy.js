// @ts-check
// Parts of the page that are fetched when they are first shown.
import { html, useEffect, useSignal } from '../html.js'

/** @typedef {(properties: any) => unknown} Component */

/**
 * `load` returns a promise of the component.
 *
 * @param {() => Promise<Component>} load
 */
export function lazy(load) {
  /** @type {Component | undefined} */
  let Loaded
  /** @type {Promise<Component> | undefined} */
  let loading
  /** @param {Record<string, unknown>} properties */
  return function Lazy(properties) {
    const ready = useSignal(Boolean(Loaded))
    useEffect(() => {
      if (Loaded) return
      loading ??= load()
      loading.then((component) => {
        Loaded = component
        ready.value = true
      })
    }, [])
    return ready.value && Loaded ? html`<${Loaded} ...${properties} />` : null
  }
}

/**
 * Fetch a style sheet that one page alone needs.
 *
 * @param {string} href
 */
export function stylesheet(href) {
  return new Promise((resolve, reject) => {
    const link = Object.assign(document.createElement('link'), {
      rel: 'stylesheet',
      href,
      onload: resolve,
      onerror: reject,
    })
    document.head.append(link)
  })
}
