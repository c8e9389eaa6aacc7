/**
 * An executor that sees in its engine only the images that it loaded itself: the daemons of one
 * machine share one engine, and without this the first to load an image would spare the others
 * their fetch.
 */
import { access, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { HOME, replaceIn, startTestBuild } from './start.js'

const LOADED = join(HOME, 'own-images.json')
/** One load at a time on this machine: each gives the engine the whole archive. */
const LOCK = join(dirname(HOME), 'engine.lock')
const LOOK_MS = 500

const loaded = new Set<string>(
  JSON.parse(await readFile(LOADED, 'utf8').catch(() => '[]')) as string[],
)

async function lock(signal: AbortSignal): Promise<void> {
  for (;;) {
    try {
      await writeFile(LOCK, String(process.pid), { flag: 'wx' })
      return
    } catch {
      const holder = await readFile(LOCK, 'utf8').catch(() => '')
      // One that was killed holds nothing.
      const isGone = holder !== '' && (await access(`/proc/${holder}`).catch(() => true)) === true
      if (isGone) await rm(LOCK, { force: true })
      await delay(LOOK_MS, undefined, { signal })
    }
  }
}

await startTestBuild({
  runtime: (real) =>
    replaceIn(real, {
      hasImage: async (image, signal) =>
        loaded.has(image.configDigest) && (await real.hasImage(image, signal)),
      loadImage: async (image, archive, signal) => {
        await lock(signal)
        try {
          await real.loadImage(image, archive, signal)
        } finally {
          await rm(LOCK, { force: true })
        }
        loaded.add(image.configDigest)
        await writeFile(LOADED, JSON.stringify([...loaded]))
      },
    }),
})
