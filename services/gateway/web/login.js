// @ts-check
// Exchanges a token for the session cookie of this browser. The token is kept nowhere.
const form = /** @type {HTMLFormElement} */ (document.getElementById('form'))
const token = /** @type {HTMLInputElement} */ (document.getElementById('token'))
const submit = /** @type {HTMLButtonElement} */ (document.getElementById('submit'))
const problem = /** @type {HTMLElement} */ (document.getElementById('problem'))

/** Where one wanted to go: a path of this site, nothing else. */
function destination() {
  const next = new URLSearchParams(window.location.search).get('next') ?? '/'
  const url = new URL(next, window.location.origin)
  // What stands behind the # of the address that was asked for never reached the server.
  url.hash ||= window.location.hash
  return url.origin === window.location.origin ? url.href : '/'
}

/** @param {string} text */
function say(text) {
  problem.textContent = text
  problem.hidden = text === ''
}

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  submit.disabled = true
  say('')
  try {
    const response = await fetch('/api/v1/session', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-milepost-csrf': '1' },
      body: JSON.stringify({ token: token.value.trim() }),
    })
    if (response.ok) {
      window.location.replace(destination())
      return
    }
    const answer = await response.json().catch(() => ({}))
    say(answer.detail || 'This token is not known here.')
  } catch {
    say('The server cannot be reached.')
  }
  submit.disabled = false
  token.select()
})
