// @ts-check
// Event ids of the live stream: `events=1204;metrics=99120;trials=1204/99120`, one position a topic. Pure.

/** @typedef {Record<string, (string | number)[]>} Positions */

/**
 * {events: ["1204"], trials: ["1204", "99120"]}
 *
 * @param {string | undefined} token
 */
export function parseToken(token) {
  /** @type {Positions} */
  const positions = {}
  for (const piece of (token ?? '').split(';')) {
    const at = piece.indexOf('=')
    if (at > 0)
      positions[piece.slice(0, at)] = piece
        .slice(at + 1)
        .split('/')
        .map(decodeURIComponent)
  }
  return positions
}

/**
 * The reverse. Positions of nothing (zero, empty) are left out: such a topic begins anew.
 *
 * @param {Positions} positions
 */
export function formatToken(positions) {
  return Object.keys(positions)
    .sort()
    .filter((topic) =>
      positions[topic].some((part) => part !== undefined && String(part) !== '' && String(part) !== '0'),
    )
    .map((topic) => `${topic}=${positions[topic].map((part) => encodeURIComponent(String(part ?? 0))).join('/')}`)
    .join(';')
}

/**
 * The token with the positions of `changes`; null forgets a topic's.
 *
 * @param {string} token
 * @param {Record<string, (string | number)[] | null>} changes
 */
export function moveToken(token, changes) {
  /** @type {Positions} */
  const positions = parseToken(token)
  for (const [topic, position] of Object.entries(changes))
    if (position === null) delete positions[topic]
    else positions[topic] = position
  return formatToken(positions)
}
