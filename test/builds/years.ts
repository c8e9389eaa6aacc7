/**
 * A daemon whose clock runs ahead by what the file `clock` beside its home says, in milliseconds,
 * so that weeks of history pass in seconds. Files in its home turn it bad: `lies` makes it flip a
 * bit in what its containers wrote, `two-faced` makes it tell half of the others that it committed
 * to something else.
 *
 * A program named `history` is not run in a container: it exists to give peers a past.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Bundle, Request } from '../../src/wire/generated/control.js'
import { HOME, NETWORK, product, replaceIn, startTestBuild } from './start.js'

const CLOCK = join(dirname(HOME), 'clock')
const { loadIdentity } = await product('identity')
const { createSigner, open, seal } = await product('wire/envelope')
const signer = createSigner(await loadIdentity(HOME))
const isMarked = (mark: string): boolean => existsSync(join(HOME, mark))

/** Read at every call: a job must not begin before a jump and go on after it. */
function now(): number {
  return Date.now() + (existsSync(CLOCK) ? Number(readFileSync(CLOCK, 'utf8')) : 0)
}

await startTestBuild({
  clock: {
    now,
    after: (ms, call) => {
      const timer = setTimeout(call, ms)
      return () => {
        clearTimeout(timer)
      }
    },
  },
  runtime: (real) =>
    replaceIn(real, {
      run: async (spec, on, signal) => {
        if (spec.argv[0] !== 'history') {
          const outcome = await real.run(spec, on, signal)
          const [file] = outcome.files
          if (file !== undefined && isMarked('lies')) {
            const path = join(outcome.outDir, file.path)
            const bytes = await readFile(path)
            bytes[0] = (bytes[0] ?? 0) ^ 1
            await writeFile(path, bytes)
          }
          return outcome
        }
        const outDir = join(spec.workDir, 'out')
        await mkdir(outDir, { recursive: true })
        await writeFile(join(outDir, 'past'), 'once upon a time')
        const atMs = Date.now()
        return {
          status: 'succeeded',
          exitCode: 0,
          reason: '',
          code: 'SUCCEEDED',
          startedMs: atMs,
          finishedMs: atMs,
          logTail: '',
          outDir,
          files: [{ path: 'past', sizeBytes: 16 }],
        }
      },
    }),
  transport: (real) =>
    replaceIn(real, {
      publish: async (topic, bytes) => {
        const opened = isMarked('two-faced') ? open(NETWORK, bytes) : undefined
        if (opened?.kind !== 'commitment') return real.publish(topic, bytes)
        const message = { ...opened.message, commitment: new Uint8Array(randomBytes(32)) }
        const other = seal(NETWORK, 'commitment', message, signer)
        await Promise.all(
          real.connectedPeers().map(async (peer, i) => {
            const body = Bundle.encode({ envelopes: [i % 2 === 0 ? bytes : other.bytes] })
            const request = Request.encode({ method: 'deliver', body })
            await real.request(peer, request, AbortSignal.timeout(10_000)).catch(() => undefined)
          }),
        )
      },
    }),
})
