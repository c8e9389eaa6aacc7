/** An executor that works once and from then on hands in what that first task gave. */
import { existsSync } from 'node:fs'
import { cp, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { HOME, replaceIn, startTestBuild } from './start.js'

const kept = join(HOME, 'first-output')

await startTestBuild({
  runtime: (real) =>
    replaceIn(real, {
      run: async (spec, on, signal) => {
        const outcome = await real.run(spec, on, signal)
        if (outcome.status !== 'succeeded') return outcome
        if (!existsSync(kept)) {
          await cp(outcome.outDir, kept, { recursive: true })
          return outcome
        }
        for (const name of await readdir(outcome.outDir)) {
          await rm(join(outcome.outDir, name), { recursive: true })
        }
        await cp(kept, outcome.outDir, { recursive: true })
        return outcome
      },
    }),
})
