// Queries of URLs, ours and the API's. Pure.

/** {a: 1, b: ["x", "y"], c: undefined} -> "a=1&b=x&b=y". Missing, empty and false are left out. */
export function encode(values) {
  const parameters = new URLSearchParams()
  for (const [key, value] of Object.entries(values)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== undefined && item !== null && item !== '' && item !== false) parameters.append(key, String(item))
    }
  }
  // Commas, colons and slashes are legal in a query and much easier to read.
  return parameters.toString().replaceAll('%2C', ',').replaceAll('%3A', ':').replaceAll('%2F', '/')
}

/** The whole address: path and, if there is one, query. */
export function address(path, values = {}) {
  const query = encode(values)
  return query ? `${path}?${query}` : path
}

/** Path of the page -> {page, id}. */
export function route(path) {
  const parts = path.split('/').filter(Boolean)
  if (parts.length === 0) return { page: 'runtimes' }
  if (parts[0] === 'trials' && parts.length === 1) return { page: 'trials' }
  if (parts[0] === 'runtimes' && parts.length === 1) return { page: 'runtimes' }
  if (parts[0] === 'runtimes' && parts.length === 2) return { page: 'runtime', id: decodeURIComponent(parts[1]) }
  if (parts[0] === 'runtimes' && parts.length === 3 && parts[2] === 'audit') return { page: 'audit', id: decodeURIComponent(parts[1]) }
  return { page: 'unknown' }
}
