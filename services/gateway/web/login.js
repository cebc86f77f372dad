// Signing in: a token goes out once, a cookie that scripts cannot read comes back.
const form = document.getElementById('form')
const input = document.getElementById('token')
const button = document.getElementById('submit')
const problem = document.getElementById('problem')

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  button.disabled = true
  problem.textContent = ''
  try {
    const response = await fetch('/api/v1/session', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-milepost-csrf': '1' },
      body: JSON.stringify({ token: input.value.trim() }),
    })
    if (response.ok) {
      location.replace(destination())
      return
    }
    const answer = await response.json().catch(() => ({}))
    problem.textContent = answer.detail ?? `The server answered ${response.status}.`
  } catch {
    problem.textContent = 'The server cannot be reached.'
  }
  button.disabled = false
  input.select()
})

/** Where the visitor wanted to go: a path of this site and nothing else. */
function destination() {
  const wanted = new URLSearchParams(location.search).get('next') ?? '/'
  const address = new URL(wanted, location.origin)
  return address.origin === location.origin ? address.pathname + address.search + address.hash : '/'
}
