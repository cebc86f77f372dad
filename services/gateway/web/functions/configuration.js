// Configurations as flat paths, their differences, and as YAML. Pure.

/** {a: {b: 1}, c: [2]} -> [["a.b", 1], ["c", [2]]]. Lists and empty objects are leaves. */
export function flatten(value, prefix = '') {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return [[prefix, value]]
  const keys = Object.keys(value)
  if (keys.length === 0) return prefix ? [[prefix, value]] : []
  return keys.flatMap((key) => flatten(value[key], prefix ? `${prefix}.${key}` : key))
}

/** Paths of both with both values: [{path, left, right, differs}], in the order of the left, then what only the right has. */
export function compare(left, right) {
  const ours = new Map(flatten(left ?? {}))
  const theirs = new Map(flatten(right ?? {}))
  const paths = [...ours.keys(), ...[...theirs.keys()].filter((path) => !ours.has(path))]
  return paths.map((path) => {
    const a = ours.get(path)
    const b = theirs.get(path)
    return { path, left: a, right: b, differs: JSON.stringify(a) !== JSON.stringify(b) }
  })
}

/** A value as one line. Parameters are JSON scalars as text and stay as they are. */
export function inline(value) {
  if (value === undefined) return '–'
  if (typeof value === 'string') return value === '' ? '""' : value
  return JSON.stringify(value)
}

/** Parameter text ("0.003", "adam" or "\"adam\"") as the JSON scalar it stands for. */
export function scalar(text) {
  try {
    const value = JSON.parse(text)
    return typeof value === 'object' && value !== null ? text : value
  } catch {
    return text
  }
}

/** YAML of plain objects, lists and scalars. Strings that YAML would read as something else are quoted. */
export function yaml(value, indent = 0) {
  const space = '  '.repeat(indent)
  if (Array.isArray(value)) return value.length === 0 ? ' []\n' : `\n${value.map((item) => `${space}- ${yamlScalar(item)}\n`).join('')}`
  const lines = Object.entries(value).map(([key, item]) => {
    if (item !== null && typeof item === 'object') {
      if (Array.isArray(item)) return `${space}${key}: [${item.map(yamlScalar).join(', ')}]\n`
      if (Object.keys(item).length === 0) return `${space}${key}: {}\n`
      return `${space}${key}:\n${yaml(item, indent + 1)}`
    }
    return `${space}${key}: ${yamlScalar(item)}\n`
  })
  return lines.join('')
}

function yamlScalar(value) {
  if (typeof value !== 'string') return JSON.stringify(value)
  const plain = /^[A-Za-z_/][A-Za-z0-9_./:-]*$/.test(value) && !/:$|^(true|false|null|yes|no|on|off|~)$/i.test(value)
  return plain ? value : JSON.stringify(value)
}
