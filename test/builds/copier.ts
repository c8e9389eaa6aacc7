/** An executor that commits to whatever another one has committed to, and hopes for the best. */
import { setTimeout as delay } from 'node:timers/promises'
import { toHex } from '../../src/wire/ids.js'
import { HOME, NETWORK, product, replaceIn, startTestBuild } from './start.js'

const SIGHT_MS = 60_000
const { loadIdentity } = await product('identity')
const { createSigner, open, seal } = await product('wire/envelope')
const signer = createSigner(await loadIdentity(HOME))

/** Foreign commitments by task id, and who waits for one. */
const seen = new Map<string, Uint8Array>()
const waiting = new Set<() => void>()

function look(bytes: Uint8Array): void {
  const opened = open(NETWORK, bytes)
  if (opened.kind !== 'commitment' || opened.author === signer.peerId) return
  seen.set(toHex(opened.message.taskId), opened.message.commitment)
  for (const wake of waiting) wake()
}

/** Resolves when somebody committed to a task whose id begins like this. */
async function sighting(taskIdStart: string): Promise<void> {
  const deadline = delay(SIGHT_MS, undefined, { ref: false })
  let isLate = false
  void deadline.then(() => {
    isLate = true
  })
  while (!isLate && ![...seen.keys()].some((id) => id.startsWith(taskIdStart))) {
    let wake = (): void => undefined
    const woken = new Promise<void>((resolve) => {
      wake = resolve
    })
    waiting.add(wake)
    await Promise.race([woken, deadline])
    waiting.delete(wake)
  }
}

await startTestBuild({
  transport: (real) =>
    replaceIn(real, {
      subscribe: (topic, onMessage) => {
        real.subscribe(topic, async (bytes, from) => {
          look(bytes)
          return onMessage(bytes, from)
        })
      },
    }),
  runtime: (real) =>
    replaceIn(real, {
      run: async (spec, on, signal) => {
        const outcome = await real.run(spec, on, signal)
        const taskIdStart = /-([0-9a-f]{40})-/.exec(spec.taskKey)?.[1]
        if (taskIdStart !== undefined) await sighting(taskIdStart)
        return outcome
      },
    }),
  outgoing: (opened) => {
    if (opened.kind !== 'commitment') return opened
    const commitment = seen.get(toHex(opened.message.taskId))
    if (commitment === undefined) return opened
    return seal(NETWORK, 'commitment', { ...opened.message, commitment }, signer)
  },
})
