// @ts-check
// What every page has: the bar at the top, the theme, the help.
import { html, useSignal } from '../html.js'
import { theme } from '../state/preferences.js'
import { session, signOut } from '../state/session.js'
import { useKeys } from '../state/keyboard.js'
import { Badge } from './badge.js'
import { Bell } from './bell.js'
import { Dialog } from './dialog.js'
import { Icon, Mark } from './icon.js'
import { Menu } from './menu.js'

/**
 * @import { ComponentChildren } from '../vendor/preact.js'
 * @import { ReadonlySignal } from '../vendor/signals.js'
 */

/** @type {Record<string, string[]>} */
const themes = {
  system: ['light', 'system', 'System colours'],
  light: ['dark', 'sun', 'Light'],
  dark: ['system', 'moon', 'Dark'],
}

const keys = [
  ['?', 'this help'],
  ['/', 'search or filter'],
  ['j k', 'next and previous row, event or log line'],
  ['Enter', 'open'],
  ['Esc', 'let go of a pinned step; back'],
  ['s', 'smoothing on and off'],
  ['l', 'next scale: linear, log, symlog'],
  ['x', 'next x axis: step, relative time, wall time, epoch, tokens'],
  ['r', 'reset zoom'],
  ['Space', 'play and pause (audit)'],
  ['← →', 'previous and next point of a chart, marker of the step bar, or event (audit)'],
  ['click', 'on a chart or on the step bar: pins the step there'],
  ['drag', 'zoom a chart; double click goes back; Ctrl + wheel zooms; Shift + drag pans'],
]

/**
 * `alone`: the page has no live stream.
 *
 * @param {{
 *   page: string,
 *   alone?: boolean,
 *   connection?: ReadonlySignal<string>,
 *   crumbs?: ComponentChildren,
 *   children?: ComponentChildren,
 * }} properties
 */
export function Shell({ page, alone, connection, crumbs, children }) {
  const help = useSignal(false)
  useKeys({ '?': () => (help.value = true) })
  const [nextTheme, themeIcon, themeName] = themes[theme.value] ?? themes.system
  return html`
    <a class="skip" href="#main">Skip to content</a>
    <header class="bar">
      <a class="brand" href="/" aria-label="Milepost, all runtimes"><${Mark} /><span>Milepost</span></a>
      <nav aria-label="Main">
        <a href="/" aria-current=${page === 'runtimes' ? 'page' : undefined}>Runtimes</a>
        <a href="/trials" aria-current=${page === 'trials' ? 'page' : undefined}>Trials</a>
        <a href="/rules" aria-current=${page === 'rules' ? 'page' : undefined}>Rules</a>
      </nav>
      <div class="crumbs">${crumbs}</div>
      ${connection && html`<${Badge} connection=${connection} />`}
      <${Bell} alone=${alone} />
      <button
        type="button"
        class="quiet round"
        onClick=${() => (theme.value = nextTheme)}
        title=${`${themeName}. Click: ${nextTheme}`}
        aria-label=${`Theme: ${themeName}`}
      >
        <${Icon} name=${themeIcon} />
      </button>
      ${
        session.value?.verified &&
        html`<${Menu}
          label=${`Signed in as ${session.value.actor}`}
          items=${[[`Sign out ${session.value.actor} (${session.value.role})`, signOut]]}
        >
          <${Icon} name="person" />
        <//>`
      }
      <button
        type="button"
        class="quiet round"
        onClick=${() => (help.value = true)}
        title="Keyboard (?)"
        aria-label="Help"
      >
        <${Icon} name="help" />
      </button>
    </header>
    <main id="main" tabindex="-1">${children}</main>
    ${
      help.value &&
      html`<${Dialog} title="Keyboard" onClose=${() => (help.value = false)}>
        <dl class="keys">
          ${keys.map(
            ([key, text]) => html`<dt>${key.split(' ').map((one) => html`<kbd>${one}</kbd>`)}</dt><dd>${text}</dd>`,
          )}
        </dl>
      <//>`
    }
  `
}
