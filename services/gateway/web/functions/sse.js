// @ts-check
// The text/event-stream format. Pure.

/** @typedef {{ event: string, data: string, id: string | undefined }} ServerEvent */

/** A parser: feed it text, it returns the messages that are complete: [{event, data, id}]. */
export function parser() {
  let rest = ''
  let event = ''
  /** @type {string[]} */
  let data = []
  /** @type {string | undefined} */
  let id

  /**
   * @param {string} text
   * @param {ServerEvent[]} messages
   */
  function line(text, messages) {
    if (text === '') {
      if (data.length > 0) messages.push({ event: event || 'message', data: data.join('\n'), id })
      event = ''
      data = []
      return
    }
    if (text.startsWith(':')) return
    const colon = text.indexOf(':')
    const field = colon === -1 ? text : text.slice(0, colon)
    const value = colon === -1 ? '' : text.slice(colon + (text[colon + 1] === ' ' ? 2 : 1))
    if (field === 'event') event = value
    else if (field === 'data') data.push(value)
    else if (field === 'id' && !value.includes('\0')) id = value
  }

  /** @param {string} chunk */
  return function feed(chunk) {
    /** @type {ServerEvent[]} */
    const messages = []
    rest += chunk
    // A carriage return at the very end may be half of a CR LF.
    const upTo = rest.endsWith('\r') ? rest.length - 1 : rest.length
    const lines = rest.slice(0, upTo).split(/\r\n|\n|\r/)
    rest = lines.pop() + rest.slice(upTo)
    for (const text of lines) line(text, messages)
    return messages
  }
}
