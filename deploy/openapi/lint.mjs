// Lint an OpenAPI document: node lint.mjs FILE. Warnings are told, errors end it with status 1.
import { readFileSync } from 'node:fs'
import { createConfig, lintFromString } from '@redocly/openapi-core'
import spectral from '@stoplight/spectral-core'
import parsers from '@stoplight/spectral-parsers'
import rulesets from '@stoplight/spectral-rulesets'

const file = process.argv[2]
const source = readFileSync(file, 'utf8')

const linter = new spectral.Spectral()
linter.setRuleset({ extends: [rulesets.oas] })
const found = await linter.run(new spectral.Document(source, parsers.Json, file))
for (const { severity, code, path, message } of found.filter(({ code }) => code !== 'info-contact'))
  console.log(`spectral ${severity === 0 ? 'error' : 'warning'} ${code} at ${path.join('.')}: ${message}`)

const config = await createConfig({ extends: ['recommended'], rules: { 'no-unused-components': 'off' } })
const problems = await lintFromString({ source, absoluteRef: file, config })
for (const { severity, ruleId, message, location } of problems)
  console.log(`redocly ${severity} ${ruleId} at ${location[0]?.pointer}: ${message}`)

process.exitCode =
  found.some(({ severity }) => severity === 0) || problems.some(({ severity }) => severity === 'error') ? 1 : 0
