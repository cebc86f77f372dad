// @ts-check
// The time, once a second, while somebody looks.
import { signal } from '../vendor/signals.js'

export const now = signal(Date.now())

setInterval(() => {
  if (!document.hidden) now.value = Date.now()
}, 1000)

document.addEventListener('visibilitychange', () => {
  if (!document.hidden) now.value = Date.now()
})
