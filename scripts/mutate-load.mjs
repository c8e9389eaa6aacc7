/**
 * Loader of `mutants.ts`: one module of `src` is read with one edit in it. Stands beneath tsx, so
 * that it sees TypeScript, and everything else is loaded as ever.
 */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

let edit

/** @type {import('node:module').InitializeHook} */
export async function initialize(data) {
  edit = data
}

/** @type {import('node:module').LoadHook} */
export async function load(url, context, nextLoad) {
  if (url.replace(/[?#].*$/, '') !== edit.url) return nextLoad(url, context)
  const source = await readFile(fileURLToPath(edit.url), 'utf8')
  const parts = source.split(edit.find)
  if (parts.length !== 2) throw new Error(`not once in ${edit.url}: ${edit.find}`)
  return { format: 'module', source: parts.join(edit.replace), shortCircuit: true }
}
