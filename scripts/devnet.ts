/**
 * Keeps a network of daemons up on this machine until Ctrl-C.
 *
 *   npm run devnet -- 5            one bootstrap node and five peers
 *
 * Prints every peer's socket and what to try. Homes are deleted at the end.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CtdError, errorCode, errorMessage } from '../src/errors.js'
import { LocalNetwork } from './local-network.js'
import { setUp } from './setup.js'

const PEERS_MAX = 16

async function main(): Promise<void> {
  const count = Number(process.argv[2] ?? 5)
  if (!Number.isInteger(count) || count < 3 || count > PEERS_MAX) {
    throw new CtdError('USAGE', `not a number of peers: ${process.argv[2] ?? ''}`, {
      hint: `npm run devnet -- N, N from 3 (a requester and two replicas) to ${PEERS_MAX}`,
    })
  }
  const setup = await setUp({ image: true, engine: true, quiet: false })
  if (setup.engine !== 'ready') throw new CtdError('NO_CONTAINER_ENGINE', setup.engine.missing)
  const dir = await mkdtemp(join(tmpdir(), 'ctd-net-'))
  const network = new LocalNetwork({ dir, network: `devnet-${dir.slice(-6)}` })
  setup.onTearDown(async () => {
    await network.stop()
    await rm(dir, { recursive: true, force: true })
  })
  await network.start({ name: 'boot', role: 'bootstrap' })
  for (let i = 1; i <= count; i++) await network.start({ name: `p${i}` })
  const peers = network.peers.slice(1)
  await Promise.all(peers.map((peer) => peer.benchmarked()))
  console.log(`${count} peers and a bootstrap node are up. Their sockets:`)
  for (const { name, socket } of peers) console.log(`  ${name}  ${socket}`)
  const [first, second] = peers
  console.log(`
Try, in another terminal:
  curl --unix-socket ${first?.socket ?? ''} http://ctd/submit-job -H 'content-type: application/json' \\
       -d '{"model":"bert-tiny","dataset":"/absolute/path/to/custom.csv","epochs":5}'
  curl --unix-socket ${second?.socket ?? ''} 'http://ctd/job-status?id=ID'
  curl --unix-socket ${second?.socket ?? ''} 'http://ctd/results?id=ID'
  npx ctd --home ${first?.home ?? ''} status
Ctrl-C stops everything.`)
  await new Promise<void>((resolve) => {
    setup.signal.addEventListener('abort', () => {
      resolve()
    })
  })
}

main().catch((error: unknown) => {
  console.error(`error[${errorCode(error)}]: ${errorMessage(error)}`)
  if (error instanceof CtdError && error.hint !== undefined) console.error(`  hint  ${error.hint}`)
  process.exitCode = 1
})
