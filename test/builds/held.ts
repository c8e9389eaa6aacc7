/**
 * An executor that begins with one shard of a round only when it is told that the others are done:
 * the file `order.json` beside its home holds the shard and in how many rounds that was so.
 */
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { HOME, replaceIn, startTestBuild } from './start.js'
import { trainTaskOf } from './train-task.js'
import type { TrainTask } from './train-task.js'

const ORDER = join(dirname(HOME), 'order.json')
const LOOK_MS = 100
/** Then it begins whatever the others do: nobody may wait for ever. */
const PATIENCE_MS = 60_000

interface Order {
  readonly shard: number
  readonly rounds: number
}

await startTestBuild({
  runtime: (real) =>
    replaceIn(real, {
      run: async (spec, on, signal) => {
        const task = await trainTaskOf(spec)
        if (task !== undefined) await itsTurn(task, signal)
        return real.run(spec, on, signal)
      },
    }),
})

async function itsTurn({ round, shard }: TrainTask, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS
  while (Date.now() < deadline) {
    const order = JSON.parse(await readFile(ORDER, 'utf8')) as Order
    if (shard !== order.shard || order.rounds > round) return
    await delay(LOOK_MS, undefined, { signal })
  }
}
