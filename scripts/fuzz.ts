/**
 * `npm run fuzz`: damaged manifests, listings of folders and blob frames, many of them.
 *
 *   npm run fuzz -- --inputs 1000000 --seed 7     how many (1,000,000), drawn from which seed
 *   npm run fuzz -- --json                        the last line is one JSON object
 *
 * The status is 1 where anything crashed or wrote outside its folder. The same seed and number
 * give the same inputs.
 */
import { parseArgs } from 'node:util'
import { fuzzBlobs } from '../test/unit/fuzz-blobs.js'

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: '20261122' },
    json: { type: 'boolean', default: false },
  },
})
const [inputs, seed] = [Number(values.inputs), Number(values.seed)]
if (!Number.isSafeInteger(inputs) || inputs < 1 || !Number.isSafeInteger(seed)) {
  console.error('--inputs is a positive whole number, --seed a whole number')
  process.exit(2)
}
const startedMs = performance.now()
const report = await fuzzBlobs(inputs, seed)
const seconds = Math.round(performance.now() - startedMs) / 1000
for (const crash of report.crashes) console.error(crash)
if (values.json) console.log(JSON.stringify({ ...report, seconds }))
else {
  const kinds = Object.entries(report.kinds).map(([kind, count]) => `${count} ${kind}`)
  console.log(
    `${inputs} inputs (${kinds.join(', ')}) of seed ${seed} in ${seconds} s: ` +
      `${report.crashes.length} crashes, ${report.bytesOutside} files outside the target`,
  )
}
process.exitCode = report.crashes.length === 0 && report.bytesOutside === 0 ? 0 : 1
