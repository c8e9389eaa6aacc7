/** Generates `src/wire/generated/*.ts` from `proto/*.proto` with protons. */
import { execFileSync } from 'node:child_process'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const out = join(root, 'src/wire/generated')
const sources = readdirSync(join(root, 'proto'))
  .filter((name) => name.endsWith('.proto'))
  .map((name) => join(root, 'proto', name))

execFileSync(
  process.execPath,
  [join(root, 'node_modules/protons/dist/bin/protons.js'), '-o', out, ...sources],
  { stdio: 'inherit', cwd: root },
)
for (const name of readdirSync(out)) {
  const path = join(out, name)
  // Our compiler flags are stricter than what the generator writes.
  const generated = readFileSync(path, 'utf8').replaceAll('Uint8Array<ArrayBuffer>', 'Uint8Array')
  writeFileSync(path, `// @ts-nocheck\n${generated.replace(/^\/\/ @ts-nocheck\n/, '')}`)
}
