// Exchanges a token for the session cookie of this browser. The token is kept nowhere.
const form = document.getElementById('form')
const token = document.getElementById('token')
const submit = document.getElementById('submit')
const problem = document.getElementById('problem')

/** Where one wanted to go: a path of this site, nothing else. */
function destination() {
  const next = new URLSearchParams(window.location.search).get('next') ?? '/'
  const url = new URL(next, window.location.origin)
  return url.origin === window.location.origin ? url.href : '/'
}

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
