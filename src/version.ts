/** What this program calls itself towards other peers. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

function readVersion(): string {
  const text = readFileSync(join(import.meta.dirname, '..', 'package.json'), 'utf8')
  const { version } = JSON.parse(text) as { readonly version?: string }
  return version ?? '0.0.0'
}

export const VERSION = readVersion()
export const AGENT = `ctd/${VERSION}`
