/** The two limits of the bench of bytes: a copy over TCP, and one over one libp2p stream. */
import { join } from 'node:path'
import { assertCopies, measured } from './bench-bytes-sample.js'
import type { ByteSystem, Sample, Task } from './bench-bytes-sample.js'
import { BenchWorker } from './bench-bytes-worker.js'
import { NODE_FLAGS } from './local-network.js'

const WORKER = join(import.meta.dirname, 'bench-bytes-raw.mjs')

export const TCP: ByteSystem = rawSystem('tcp', 'raw TCP, nothing encrypted or checked')
export const LIBP2P: ByteSystem = rawSystem('libp2p', 'one libp2p stream a provider, unchecked')

function rawSystem(name: 'tcp' | 'libp2p', title: string): ByteSystem {
  return {
    name,
    title,
    prepare: async () => undefined,
    sizeFor: ({ byDht }, mib) => (byDht ? 'it is told the address' : mib),
    copy: (task) => copyWith([...NODE_FLAGS, WORKER, name], task),
  }
}

/**
 * A copy by workers that obey `serve`, `meet` and `fetch`. Connections are made before the time
 * is taken, as daemons have them.
 */
export async function copyWith(
  args: readonly string[],
  task: Task,
  cwd = task.dir,
): Promise<Sample> {
  const { pattern, path, sizeBytes, dir, signal } = task
  const workers: BenchWorker[] = []
  const start = async (): Promise<BenchWorker> => {
    const worker = new BenchWorker(args, cwd)
    workers.push(worker)
    await worker.ready(signal)
    return worker
  }
  try {
    const providers = await Promise.all(Array.from({ length: pattern.providers }, start))
    const fetchers = await Promise.all(Array.from({ length: pattern.fetchers }, start))
    const served = await Promise.all(
      providers.map((worker, i) =>
        worker.ask({ serve: { path, dir: join(dir, `provider-${i}`) } }, signal),
      ),
    )
    const addresses = served.map(({ address }) => address)
    const content = served[0]?.['content']
    await Promise.all(
      fetchers.map((worker, i) =>
        worker.ask({ meet: { addresses, dir: join(dir, `fetcher-${i}`) } }, signal),
      ),
    )
    await Promise.all(providers.map((worker) => worker.ask({ tell: { content } }, signal)))
    const copies = fetchers.map((_, i) => join(dir, `copy-${i}`))
    const pids = {
      providers: providers.map(({ pid }) => pid),
      fetchers: fetchers.map(({ pid }) => pid),
    }
    const sample = await measured(pids, async () => {
      await Promise.all(
        fetchers.map((worker, i) =>
          worker.ask({ fetch: { into: copies[i], sizeBytes, content } }, signal),
        ),
      )
    })
    await assertCopies(task, copies)
    return sample
  } finally {
    await Promise.all(workers.map((worker) => worker.stop()))
  }
}
