// What every module of the page may name: what the page adds to the messages of the API, and which answer a path has.

declare namespace Api {
  /** A number; JSON has no others, so these are words. */
  type Double = number | 'NaN' | 'Infinity' | '-Infinity'

  interface Trial {
    /** When this state was true, as `performance.now()` has it; set by the stream. */
    received_at?: number
  }

  interface Session {
    actor: string
    role: string
    verified: boolean
    grpc_address?: string
  }
}

/** What a handler of an element of a kind gets. */
type Happening<Target, Kind = Event> = Kind & { target: Target; currentTarget: Target }

type Timer = ReturnType<typeof setTimeout> | undefined

/** The answers to questions, by how their path ends. */
type Endings = {
  '/session': Api.Session
  '/runtimes': Api.ListRuntimesResponse
  '/trials': Api.ListTrialsResponse
  '/events': Api.ListEventsResponse
  '/snapshots': Api.ListSnapshotsResponse
  '/lineage': Api.ListLineageResponse
  '/rungs': Api.ListRungsResponse
  '/importances': Api.GetImportancesResponse
  '/attempts': Api.ListAttemptsResponse
  '/series': Api.ListSeriesResponse
  '/series:query': Api.QuerySeriesResponse
  '/sampleSeries': Api.ListSampleSeriesResponse
  '/samples:query': Api.ListSamplesResponse
  '/histograms': Api.QueryHistogramsResponse
  '/rules': Api.ListRulesResponse
  '/firings': Api.ListFiringsResponse
  '/notifications': Api.ListNotificationsResponse
  '/destinations': Api.ListDestinationsResponse
  '/completeness': Api.GetCompletenessResponse
  '/determinism': Api.CheckDeterminismResponse
  '/logs': Api.QueryLogsResponse
  '/logs/facets': Api.ListLogFacetsResponse
  ':state': Api.GetStateAtResponse
  ':diff': Api.DiffStatesResponse
}

type Listed<Path extends string> = {
  [Ending in keyof Endings]: Path extends `${string}${Ending}` ? Endings[Ending] : never
}[keyof Endings]

/** The answer to a path; one that has none of those endings is that of a runtime, or the name of a trial. */
type Answer<Path extends string> = [Listed<Path>] extends [never]
  ? Path extends `/runtimes/${string}`
    ? Api.GetRuntimeResponse
    : Path extends `/rules/${string}`
      ? Api.GetRuleResponse
      : Api.GetTrialResponse
  : Listed<Path>

/** The answer to a command: the runtime as it is then, or what would be lost. */
type Done<Path extends string> = Path extends `${string}:previewStop`
  ? Api.PreviewStopResponse
  : { runtime: Api.Runtime | null }
