/**
 * An executor that poisons its updates in one round, the one that CTD_TEST_LIES_IN names, and works
 * honestly in all others. Called `scales` it makes them eight times as long, `flips` turns them
 * round, `repeats` hands in those that it made a round before.
 */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { HOME, replaceIn, startTestBuild } from './start.js'
import { trainTaskOf } from './train-task.js'

const NAME = basename(HOME)
const LIES_IN = Number(process.env['CTD_TEST_LIES_IN'])
const EARLIER = join(HOME, 'earlier')
const TIMES = 8

await startTestBuild({
  runtime: (real) =>
    replaceIn(real, {
      run: async (spec, on, signal) => {
        const outcome = await real.run(spec, on, signal)
        const task = outcome.status === 'succeeded' ? await trainTaskOf(spec) : undefined
        if (task === undefined) return outcome
        const delta = join(outcome.outDir, 'delta.safetensors')
        const earlier = join(EARLIER, String(task.shard))
        if (task.round === LIES_IN - 1) {
          await mkdir(EARLIER, { recursive: true })
          await copyFile(delta, earlier)
        } else if (task.round === LIES_IN) {
          if (NAME === 'repeats') await copyFile(earlier, delta)
          else await poison(delta)
        }
        return outcome
      },
    }),
})

type Header = Readonly<
  Record<string, { readonly dtype?: string; readonly data_offsets?: readonly [number, number] }>
>

/** Changes an int8 update in place: the scales of its blocks, or the sign of its values. */
async function poison(path: string): Promise<void> {
  const bytes = await readFile(path)
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Header
  for (const { dtype, data_offsets: [from, to] = [0, 0] } of Object.values(header)) {
    for (let at = start + from; at < start + to; at += dtype === 'F32' ? 4 : 1) {
      if (dtype === 'F32' && NAME === 'scales')
        bytes.writeFloatLE(TIMES * bytes.readFloatLE(at), at)
      if (dtype === 'I8' && NAME === 'flips') bytes.writeInt8(-bytes.readInt8(at), at)
    }
  }
  await writeFile(path, bytes)
}
