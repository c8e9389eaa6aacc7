/**
 * `npm run mutate`: leaves out each of the twelve defences in turn, one edit at a time, and shows
 * that a test fails each time.
 *
 *   npm run mutate                    all of them
 *   npm run mutate -- --only 4,5      some defences by their number
 *   npm run mutate -- --json          the last line is one JSON object
 *
 * The status is 1 where an edit goes unnoticed, no longer fits the code, or breaks it.
 */
import { constants } from 'node:os'
import { parseArgs } from 'node:util'
import { CtdError, errorMessage } from '../src/errors.js'
import { chosenDefences, runMutants } from './mutants.js'
import type { Mutant } from './mutants.js'

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { only: { type: 'string' }, json: { type: 'boolean', default: false } },
  })
  const defences = chosenDefences(values.only)
  const abort = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(name, () => {
      process.exitCode = 128 + constants.signals[name]
      abort.abort()
    })
  }
  const startedMs = performance.now()
  const mutants = await runMutants(defences, abort.signal, tell)
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
  for (const { id, name, attack } of defences) {
    const of = mutants.filter(({ defence }) => defence.id === id)
    const killed = of.filter(({ fate }) => fate === 'killed').length
    console.log(`${String(id).padStart(2)}  ${killed} of ${of.length} noticed  ${attack}: ${name}`)
  }
  const left = mutants.filter(({ fate }) => fate !== 'killed')
  console.log(`${mutants.length - left.length} of ${mutants.length} noticed in ${seconds} s`)
  if (left.length > 0) process.exitCode = 1
  if (values.json) console.log(JSON.stringify(report(mutants)))
}

function tell({ defence, mutation, fate, killedBy, reason, ms }: Mutant): void {
  const head = `${(ms / 1000).toFixed(1).padStart(6)} s  ${String(defence.id).padStart(2)} ${mutation.name}`
  if (fate === 'killed') console.log(`${head}\n           fails: ${killedBy.join('; ')}`)
  else console.log(`${head}\n  ${fate.toUpperCase()} ${reason.slice(0, 1000)}`)
}

function report(mutants: readonly Mutant[]): unknown {
  const row = ({ defence, mutation, fate, killedBy, reason, ms }: Mutant): object => ({
    ...{ id: defence.id, name: defence.name, mutation: mutation.name, file: mutation.file },
    ...{ tests: mutation.tests, fate, killedBy, reason, ms },
  })
  return {
    defences: mutants.map(row),
    survived: mutants.filter(({ fate }) => fate !== 'killed').map(row),
  }
}

main().catch((error: unknown) => {
  if (error instanceof Error && error.name === 'AbortError') return
  console.error(errorMessage(error))
  if (error instanceof CtdError && error.hint !== undefined) console.error(error.hint)
  process.exitCode ||= 1
})
