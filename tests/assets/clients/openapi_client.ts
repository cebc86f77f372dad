// A run from its start to its deletion, with openapi-fetch and the types that openapi-typescript generates.
// node openapi_client.js ADDRESS CONFIGURATION: prints what it saw, as JSON.
import createClient from 'openapi-fetch'
import type { components, paths } from './milepost.js'

type Schemas = components['schemas']

const [address = '', text = ''] = process.argv.slice(2)
const client = createClient<paths>({ baseUrl: address })
const header = { 'x-milepost-csrf': '1' } as const

function good<T>(answer: { data?: T; error?: Schemas['Problem'] }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error))
  return answer.data
}

// The types of a stream are generated; its lines are read here, because EventSource is only in browsers.
async function* watch<T>(runtime: string, topic: string): AsyncGenerator<T> {
  const answer = await client.GET('/api/v1/runtimes/{runtime}/stream', {
    params: { path: { runtime }, query: { topics: topic } },
    parseAs: 'stream',
  })
  let event = ''
  let rest = ''
  const reader = good(answer)!.pipeThrough(new TextDecoderStream())
  for await (const piece of reader) {
    const lines = (rest + piece).split(/\r?\n/)
    rest = lines.pop() ?? ''
    for (const line of lines) {
      if (line.startsWith('event:')) event = line.slice(6).trim()
      else if (line.startsWith('data:') && event === topic) yield JSON.parse(line.slice(5)) as T
    }
  }
}

async function waitForEnd(runtime: string): Promise<string | null> {
  for await (const update of watch<Schemas['runtime.v1.WatchRuntimesResponse']>(runtime, 'runtime'))
    if (update.runtime?.phase === 'ENDED') return update.runtime.status
  throw new Error('the stream ended')
}

const configuration: Schemas['Configuration'] = JSON.parse(text)
const started = good(await client.POST('/api/v1/runtimes', { params: { header }, body: { configuration } }))
const runtime = started.runtime!.runtime_id
for await (const update of watch<Schemas['trial.v1.WatchTrialsResponse']>(runtime, 'trials'))
  if ((update.trial?.progress?.step ?? 0) >= 5) break
good(await client.POST('/api/v1/runtimes/{runtime}:stop', {
  params: { path: { runtime }, header },
  body: { mode: 'GRACEFUL', reason: 'to go on later' },
}))
const statuses = [await waitForEnd(runtime)]
good(await client.POST('/api/v1/runtimes/{runtime}:resume', { params: { path: { runtime }, header } }))
statuses.push(await waitForEnd(runtime))
const parents = [`runtimes/${runtime}/trials/1`]
const read = good(await client.GET('/api/v1/series:query', {
  params: { query: { parents, keys: ['train/loss'], bucket_count: 1_000 } },
}))
const series = read.series[0]!
const shown = good(await client.GET('/api/v1/runtimes/{runtime}', { params: { path: { runtime } } })).runtime!
good(await client.DELETE('/api/v1/runtimes/{runtime}', { params: { path: { runtime }, header } }))
const gone = await client.GET('/api/v1/runtimes/{runtime}', { params: { path: { runtime } } })
console.log(JSON.stringify({
  runtime_id: runtime,
  statuses,
  steps: series.first_steps,
  values: series.lasts,
  every_steps: shown.configuration?.snapshots?.every_steps,
  after_delete: gone.error?.code,
}))
