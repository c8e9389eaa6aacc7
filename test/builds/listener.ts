/** A witness that can neither ask nor be told: all it learns of a job comes by gossip. */
import { replaceIn, startTestBuild } from './start.js'

await startTestBuild({
  transport: (real) =>
    replaceIn(real, {
      request: () => Promise.reject(new Error('this build asks nobody')),
      onRequest: () => {
        real.onRequest(() => Promise.reject(new Error('this build is told nothing')))
      },
    }),
})
