// @ts-check
// Small drawings in the colour of the text around them.
import { html } from '../html.js'

/** @import { VNode } from '../vendor/preact.js' */

const chain =
  'M6.6 9.4a2.6 2.6 0 0 0 3.7 0l2-2a2.6 2.6 0 0 0-3.7-3.7l-.7.7' +
  'm1.5 2.2a2.6 2.6 0 0 0-3.7 0l-2 2a2.6 2.6 0 0 0 3.7 3.7l.7-.7'

/** @type {Record<string, VNode | VNode[]>} */
const paths = {
  running: html`
    <circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="1.5" opacity="0.45" />
    <path d="M6.4 5.2 11 8l-4.6 2.8z" fill="currentColor" />
  `,
  completed: html`
    <circle cx="8" cy="8" r="6.6" fill="currentColor" />
    <path
      d="m5.2 8.2 2 2 3.7-4.2"
      fill="none"
      stroke="var(--on-status)"
      stroke-width="1.7"
      stroke-linecap="round"
      stroke-linejoin="round"
    />
  `,
  failed: html`
    <path d="M5.4 1.4h5.2l4 4v5.2l-4 4H5.4l-4-4V5.4z" fill="currentColor" />
    <path d="m5.8 5.8 4.4 4.4m0-4.4-4.4 4.4" stroke="var(--on-status)" stroke-width="1.7" stroke-linecap="round" />
  `,
  aborted: html`
    <rect x="2" y="2" width="12" height="12" rx="3" fill="currentColor" />
    <rect x="5.4" y="5.4" width="5.2" height="5.2" rx="0.8" fill="var(--on-status)" />
  `,
  waiting: html`
    <circle cx="8" cy="8" r="6.2" fill="none" stroke="currentColor" stroke-width="1.6" />
    <path
      d="M8 4.6V8l2.4 1.6"
      fill="none"
      stroke="currentColor"
      stroke-width="1.6"
      stroke-linecap="round"
      stroke-linejoin="round"
    />
  `,
  queued: html`<path
    d="M4 2h8M4 14h8M5 2v2.6L8 8l3-3.4V2M5 14v-2.6L8 8l3 3.4V14"
    fill="none"
    stroke="currentColor"
    stroke-width="1.5"
    stroke-linecap="round"
    stroke-linejoin="round"
  />`,
  bell: html`<path
    d="M8 2a3.8 3.8 0 0 0-3.8 3.8c0 3.4-1.4 4.6-1.4 5.4h10.4c0-.8-1.4-2-1.4-5.4A3.8 3.8 0 0 0 8 2zm-1.5 11.4h3"
    fill="none"
    stroke="currentColor"
    stroke-width="1.4"
    stroke-linejoin="round"
    stroke-linecap="round"
  />`,
  stop: html`<rect x="3.5" y="3.5" width="9" height="9" rx="1.6" fill="currentColor" />`,
  play: html`<path d="M5 3.2v9.6L13 8z" fill="currentColor" />`,
  pause: html`<path d="M5 3.5v9m6-9v9" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" />`,
  copy: html`
    <rect x="5.5" y="5.5" width="8" height="8" rx="1.6" fill="none" stroke="currentColor" stroke-width="1.4" />
    <path
      d="M10.5 3.2a1 1 0 0 0-1-.7h-6a1 1 0 0 0-1 1v6a1 1 0 0 0 .7 1"
      fill="none"
      stroke="currentColor"
      stroke-width="1.4"
    />
  `,
  trash: html`<path
    d="M3 4.5h10M6.5 4.3V2.8h3v1.5M4.4 4.5l.6 8.7h6l.6-8.7"
    fill="none"
    stroke="currentColor"
    stroke-width="1.4"
    stroke-linecap="round"
    stroke-linejoin="round"
  />`,
  plus: html`<path d="M8 3v10M3 8h10" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" />`,
  close: html`<path d="m4 4 8 8m0-8-8 8" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" />`,
  more: html`
    <circle cx="3.2" cy="8" r="1.4" fill="currentColor" />
    <circle cx="8" cy="8" r="1.4" fill="currentColor" />
    <circle cx="12.8" cy="8" r="1.4" fill="currentColor" />
  `,
  search: html`
    <circle cx="7" cy="7" r="4.3" fill="none" stroke="currentColor" stroke-width="1.5" />
    <path d="m10.3 10.3 3.2 3.2" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" />
  `,
  sun: html`
    <circle cx="8" cy="8" r="3" fill="currentColor" />
    <path
      d="M8 1.5v1.6m0 9.8v1.6M1.5 8h1.6m9.8 0h1.6M3.4 3.4l1.1 1.1m7 7 1.1 1.1m0-9.2-1.1 1.1m-7 7-1.1 1.1"
      stroke="currentColor"
      stroke-width="1.5"
      stroke-linecap="round"
    />
  `,
  moon: html`<path d="M13.2 9.8A5.8 5.8 0 0 1 6.2 2.8a5.8 5.8 0 1 0 7 7z" fill="currentColor" />`,
  system: html`
    <circle cx="8" cy="8" r="5.6" fill="none" stroke="currentColor" stroke-width="1.5" />
    <path d="M8 2.4a5.6 5.6 0 0 1 0 11.2z" fill="currentColor" />
  `,
  help: html`
    <circle cx="8" cy="8" r="6.2" fill="none" stroke="currentColor" stroke-width="1.4" />
    <path
      d="M6.2 6.3a1.9 1.9 0 1 1 2.6 1.8c-.6.3-.8.6-.8 1.2"
      fill="none"
      stroke="currentColor"
      stroke-width="1.4"
      stroke-linecap="round"
    />
    <circle cx="8" cy="11.4" r="0.9" fill="currentColor" />
  `,
  download: html`<path
    d="M8 2.5v7m-3-2.8 3 3 3-3M3 12.8h10"
    fill="none"
    stroke="currentColor"
    stroke-width="1.5"
    stroke-linecap="round"
    stroke-linejoin="round"
  />`,
  link: html`<path d=${chain} fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" />`,
  warning: html`
    <path d="M8 2 14.4 13.4H1.6z" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linejoin="round" />
    <path d="M8 6.4v3.2" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" />
    <circle cx="8" cy="11.4" r="0.9" fill="currentColor" />
  `,
  down: html`<path
    d="m4 6 4 4 4-4"
    fill="none"
    stroke="currentColor"
    stroke-width="1.7"
    stroke-linecap="round"
    stroke-linejoin="round"
  />`,
  right: html`<path
    d="m6 4 4 4-4 4"
    fill="none"
    stroke="currentColor"
    stroke-width="1.7"
    stroke-linecap="round"
    stroke-linejoin="round"
  />`,
  expand: html`<path
    d="M9.5 2.8h3.7v3.7M6.5 13.2H2.8V9.5M13 3 9.2 6.8M3 13l3.8-3.8"
    fill="none"
    stroke="currentColor"
    stroke-width="1.4"
    stroke-linecap="round"
    stroke-linejoin="round"
  />`,
  person: html`
    <circle cx="8" cy="5.4" r="2.6" fill="none" stroke="currentColor" stroke-width="1.4" />
    <path d="M3 13.4a5 5 0 0 1 10 0" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" />
  `,
  history: html`<path
    d="M2.6 8a5.4 5.4 0 1 1 1.6 3.8M2.4 12.4l1.7-.7-.6-1.9M8 5v3.2l2.2 1.3"
    fill="none"
    stroke="currentColor"
    stroke-width="1.4"
    stroke-linecap="round"
    stroke-linejoin="round"
  />`,
}

/** @param {{ name: string, size?: number }} properties */
export function Icon({ name, size = 16 }) {
  return html`<svg class="icon" viewBox="0 0 16 16" width=${size} height=${size} aria-hidden="true">
    ${paths[name]}
  </svg>`
}

/**
 * The mark: a milepost beside its line.
 *
 * @param {{ size?: number }} properties
 */
export function Mark({ size = 24 }) {
  return html`<svg class="mark" viewBox="0 0 24 24" width=${size} height=${size} aria-hidden="true">
    <path d="M3 20.2h18" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" opacity="0.35" />
    <path d="M8.2 20.2V8.4A3.8 3.8 0 0 1 12 4.6a3.8 3.8 0 0 1 3.8 3.8v11.8z" fill="currentColor" />
    <path d="M10.4 9.4h3.2M10.4 12h3.2" stroke="var(--surface)" stroke-width="1.5" stroke-linecap="round" />
    <path d="M4.6 20.2v-3m14.8 3v-3" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" opacity="0.35" />
  </svg>`
}
