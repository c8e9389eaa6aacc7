/** An executor that flips one bit in what its containers wrote, and commits to that. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { replaceIn, startTestBuild } from './start.js'

await startTestBuild({
  runtime: (real) =>
    replaceIn(real, {
      run: async (spec, on, signal) => {
        const outcome = await real.run(spec, on, signal)
        const [file] = outcome.files.filter(({ sizeBytes }) => sizeBytes > 0)
        if (file !== undefined) await flipLastBit(join(outcome.outDir, file.path))
        return outcome
      },
    }),
})

/** The lowest bit of the last decimal digit of a text, or of the last byte of anything else. */
async function flipLastBit(path: string): Promise<void> {
  const bytes = await readFile(path)
  const at = path.endsWith('.json') ? lastDigit(bytes) : bytes.length - 1
  bytes[at] = (bytes[at] ?? 0) ^ 1
  await writeFile(path, bytes)
}

function lastDigit(bytes: Buffer): number {
  return bytes.findLastIndex((byte) => byte >= 0x30 && byte <= 0x39)
}
