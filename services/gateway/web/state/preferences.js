// @ts-check
// What a person chose for this browser: kept in local storage, never needed.
import { effect, signal } from '../vendor/signals.js'

/**
 * @param {string} name
 * @param {string} fallback
 */
function stored(name, fallback) {
  const key = `milepost.${name}`
  let value = fallback
  try {
    value = localStorage.getItem(key) ?? fallback
  } catch {
    // Storage is switched off: the fallback holds for this visit.
  }
  const preference = signal(value)
  effect(() => {
    try {
      if (preference.value === fallback) localStorage.removeItem(key)
      else localStorage.setItem(key, preference.value)
    } catch {
      // As above.
    }
  })
  return preference
}

/** system, light or dark. */
export const theme = stored('theme', 'system')
/** 0 to 0.99 as text. */
export const smoothing = stored('smoothing', '0.6')

const systemDark = window.matchMedia('(prefers-color-scheme: dark)')
/** Counts changes of the colours, so that what is drawn on a canvas is drawn again. */
export const appearance = signal(0)

effect(() => {
  document.documentElement.dataset.theme = theme.value
  appearance.value = appearance.peek() + 1
})
systemDark.addEventListener('change', () => {
  appearance.value += 1
})
