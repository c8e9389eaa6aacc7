/**
 * A task starts only when each input of its job has two holders: this peer, which has fetched it
 * and keeps it until the job has ended, and one more that says so when it is asked. So the loss of
 * any one peer, the requester among them, takes no input away.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Holding } from '../blob/ask-holding.js'
import { CtdError } from '../errors.js'
import type { Digest, PeerId } from '../wire/ids.js'

export interface SecondHolderComponents {
  readonly ask: (peer: PeerId, digest: Digest, signal: AbortSignal) => Promise<Holding>
  /** Peers that may hold it, the likeliest first. */
  readonly candidates: (digest: Digest, signal: AbortSignal) => Promise<readonly PeerId[]>
  /** Called before each pause, for those who watch. */
  readonly onWaiting: (name: string) => void
  readonly pause?: (signal: AbortSignal) => Promise<void>
}

export interface HeldBlob {
  readonly digest: Digest
  /** What people call it. */
  readonly name: string
}

const PAUSE_MS = 2000
/** Looks at which nobody even has some of it. */
const EMPTY_LOOKS_MAX = 30
const CANDIDATES_MAX = 16
/** Blobs that are looked after at a time. */
const AT_ONCE = 8

/**
 * Resolves when each blob has a second holder; ends with the signal at the latest.
 *
 * @throws CtdError INPUT_AT_RISK where for a minute no other peer has any of it
 */
export async function awaitSecondHolders(
  blobs: readonly HeldBlob[],
  components: SecondHolderComponents,
  signal: AbortSignal,
): Promise<void> {
  const queue = blobs.values()
  const failing = new AbortController()
  const either = AbortSignal.any([signal, failing.signal])
  const workers = Array.from({ length: Math.min(AT_ONCE, blobs.length) }, async () => {
    for (const blob of queue) await awaitSecondHolder(blob, components, either)
  })
  try {
    await Promise.all(workers)
  } finally {
    failing.abort()
    await Promise.allSettled(workers)
  }
}

async function awaitSecondHolder(
  { digest, name }: HeldBlob,
  { ask, candidates, onWaiting, pause = wait }: SecondHolderComponents,
  signal: AbortSignal,
): Promise<void> {
  for (let emptyLooks = 0; ;) {
    signal.throwIfAborted()
    const peers = (await candidates(digest, signal)).slice(0, CANDIDATES_MAX)
    const holding = await best(peers.map((peer) => ask(peer, digest, signal)))
    if (holding === 'whole') return
    emptyLooks = holding === 'none' ? emptyLooks + 1 : 0
    if (emptyLooks >= EMPTY_LOOKS_MAX) {
      throw new CtdError('INPUT_AT_RISK', `no other peer holds ${name}: it would be lost with us`, {
        hint: 'is the requester still there? it serves the inputs of its jobs',
        fields: { digest },
      })
    }
    onWaiting(name)
    await pause(signal)
  }
}

/** The first `whole` at once, else the best of all answers; who cannot be asked holds nothing. */
async function best(answers: ReadonlyArray<Promise<Holding>>): Promise<Holding> {
  const all = answers.map((answer) => answer.catch((): Holding => 'none'))
  const whole = all.map(async (answer) => {
    const holding = await answer
    if (holding !== 'whole') throw new Error('not whole')
    return holding
  })
  try {
    return await Promise.any(whole)
  } catch {
    // Nobody has all of it.
    return (await Promise.all(all)).includes('perhaps') ? 'perhaps' : 'none'
  }
}

async function wait(signal: AbortSignal): Promise<void> {
  await delay(PAUSE_MS, undefined, { signal })
}
