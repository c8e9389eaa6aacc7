/**
 * Writes the worked example of `proto/README.md`, with every byte, to test/vectors/example.json:
 * `node --import tsx scripts/vectors-example.ts`.
 */
import { writeFile } from 'node:fs/promises'
import { runExample, tellExample } from '../test/vectors/example-job.js'

await writeFile(
  new URL('../test/vectors/example.json', import.meta.url),
  `${JSON.stringify(tellExample(runExample()), null, 1)}\n`,
)
