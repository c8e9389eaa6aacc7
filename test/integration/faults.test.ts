/**
 * The shows of `npm run faults` at a small size, and a result that outlives everybody's crash.
 * Figures are for the shows themselves; here only what must happen is looked at.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import type { BlobView } from '../../src/api/blob-port.js'
import type { FileView } from '../../src/api/daemon-port.js'
import { playImage } from '../../scripts/faults-image.js'
import { playProviders } from '../../scripts/faults-providers.js'
import type { Show } from '../../scripts/faults-show.js'
import { CTD, until } from '../../scripts/local-network.js'
import { PATIENCE_MS, SKIP, Stage, finished, knows, nextEvent, shellJob, submit } from './stage.js'

const NEVER = new AbortController().signal

function assertSeen({ promises }: Show): void {
  const missing = promises.filter(({ isSeen }) => !isSeen)
  const words = missing.map(({ promise, detail }) => `${promise}: ${detail}`)
  assert.deepEqual(words, [])
}

async function newShow(
  stage: Stage,
): Promise<Omit<Parameters<typeof playProviders>[0], 'mbps' | 'isTimed' | 'mib'>> {
  const dir = join(stage.dir, 'show')
  await mkdir(dir)
  return { network: stage.network, dir, seed: stage.name, say: () => undefined, signal: NEVER }
}

test('a corrupting and a stalling provider are named, and the corrupter loses standing', async () => {
  const stage = await Stage.open()
  const show = await playProviders({ ...(await newShow(stage)), mib: 64, mbps: 2, isTimed: false })
  assertSeen(show)
  await stage.network.stop()
})

test(
  'an image reaches four peers while a job waits, and two that are killed on the way resume',
  { skip: SKIP },
  async () => {
    const stage = await Stage.open()
    const common = await newShow(stage)
    assertSeen(await playImage({ ...common, mib: 32, base: 'test', lineMiBps: 4 }))
    await stage.network.stop()
  },
)

test(
  'a result outlives the crash of its requester and of all its executors, and is fetched once',
  { skip: SKIP },
  async () => {
    const stage = await Stage.open()
    await stage.start('boot', { role: 'bootstrap' })
    // A slow line: the result has hardly begun to arrive when the requester dies.
    const config = { downloadMiBps: 1 }
    const [ann, bob, requester] = await Promise.all([
      stage.start('ann'),
      stage.start('bob'),
      stage.start('requester', { execute: false, config }),
    ])
    await knows(requester, [ann, bob])
    const { event } = await nextEvent(requester, ({ type }) => type === 'task:accepted')
    const job = shellJob('yes | head -c 6291456 > /out/big', { outMiB: 8 })
    const id = await submit(requester.client, job)
    await event
    await requester.kill()
    await Promise.all([ann.kill(), bob.kill()])

    const executors = await Promise.all([stage.start('ann'), stage.start('bob')])
    const again = await stage.start('requester', { execute: false })
    const done = await finished(again.client, id)
    assert.equal(done.status, 'succeeded', done.reason)
    const [file] = await again.client.get<readonly FileView[]>(`/v1/jobs/${id}/files`)
    assert.ok(file !== undefined)
    for (const executor of executors) {
      const holders = await until(`${executor.name} to hold the result`, PATIENCE_MS, async () => {
        const { heldBy } = await executor.client.get<BlobView>(`/v1/blobs/${file.digest}`)
        return heldBy.some((words) => words.startsWith('the result of job')) ? heldBy : undefined
      })
      assert.ok(holders.length > 0)
    }

    const out = join(stage.dir, 'out')
    const results = (): Promise<unknown> =>
      promisify(execFile)(process.execPath, [
        CTD,
        ...['results', id, '--out', out, '--home', again.home],
      ])
    await results()
    const path = join(out, 'output', 'big')
    assert.equal((await readFile(path)).length, 6_291_456)
    const first = await stat(path)
    await results()
    assert.equal((await stat(path)).ino, first.ino, 'a whole file is not written again')
    await stage.network.stop()
  },
)
