/** An executor on a machine that is four times slower: every container takes four times its time. */
import { setTimeout as sleep } from 'node:timers/promises'
import { replaceIn, startTestBuild } from './start.js'

const FACTOR = 4

await startTestBuild({
  runtime: (real) =>
    replaceIn(real, {
      run: async (spec, on, signal) => {
        const startedMs = Date.now()
        const outcome = await real.run(spec, on, signal)
        await sleep((FACTOR - 1) * (Date.now() - startedMs), undefined, { signal })
        return outcome
      },
    }),
})
