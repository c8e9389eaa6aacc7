/**
 * How often a requester gets a set of stewards of which five of seven are its friends: where the
 * beacon never changes, where it is drawn after the job was made public, and where the requester
 * knows it and tries one job after the other.
 */
import { rankStewards } from '../../src/protocol/stewards.js'
import type { StewardCandidate } from '../../src/protocol/stewards.js'
import { peerIdFromPublicKey, sha256, toHex, utf8 } from '../../src/wire/ids.js'
import type { JobId, PeerId } from '../../src/wire/ids.js'
import { LIMITS } from '../../src/wire/limits.js'
import { Random } from './random.js'

export interface CaptureOptions {
  readonly seed: string
  readonly peers: number
  /** Part of the peers that are the requester's friends. */
  readonly share: number
  readonly draws: number
  /** Requesters that know the beacon, and how many jobs each tries. */
  readonly grinders: number
  readonly tries: number
}

export interface CaptureFigures {
  /** Of so many draws each, with friends whose keys lie next to each other without a beacon. */
  readonly draws: number
  readonly withoutBeacon: number
  readonly withBeacon: number
  readonly grinders: number
  readonly grindersCaptured: number
}

const FRIENDS_OF_SEVEN = 5
/** How many keys a friend makes to find one that lies next to the others. */
const KEYS_TRIED = 20
const NO_BEACON = new Uint8Array(0)

/** P(X ≥ 5) for X ~ Binomial(7, share), in ppm: what luck alone gives. */
export function captureBoundPpm(share: number): number {
  let sum = 0
  for (let i = FRIENDS_OF_SEVEN; i <= 7; i++) {
    sum += binomial(7, i) * share ** i * (1 - share) ** (7 - i)
  }
  return Math.round(sum * 1_000_000)
}

function binomial(n: number, k: number): number {
  return k === 0 ? 1 : (binomial(n - 1, k - 1) * n) / k
}

export function simulateCapture(options: CaptureOptions): CaptureFigures {
  const { draws, grinders, tries } = options
  const world = new Network(new Random(options.seed), options)
  let withoutBeacon = 0
  let withBeacon = 0
  for (let i = 0; i < draws; i++) {
    withoutBeacon += world.isCaptured(NO_BEACON) ? 1 : 0
    withBeacon += world.isCaptured(world.random.bytes(32)) ? 1 : 0
  }
  let grindersCaptured = 0
  for (let i = 0; i < grinders; i++) {
    const beacon = world.random.bytes(32)
    let tried = 0
    while (tried < tries && !world.isCaptured(beacon)) tried += 1
    grindersCaptured += tried < tries ? 1 : 0
  }
  return { draws, withoutBeacon, withBeacon, grinders, grindersCaptured }
}

class Network {
  readonly random: Random
  readonly #peers: readonly StewardCandidate[]
  readonly #friends: ReadonlySet<PeerId>
  readonly #requester: PeerId

  constructor(random: Random, { peers, share }: CaptureOptions) {
    this.random = random
    const count = Math.round(peers * share)
    const tried = Array.from({ length: count * KEYS_TRIED }, () => random.bytes(32))
    const keys = tried
      .map((key) => ({ key, place: toHex(sha256(utf8('ctd/steward-place/v1'), key)) }))
      .sort((a, b) => (a.place < b.place ? -1 : 1))
      .slice(0, count)
      .map(({ key }) => key)
    const others = Array.from({ length: peers - count }, () => random.bytes(32))
    this.#friends = new Set(keys.map((key) => peerIdFromPublicKey(key)))
    this.#requester = peerIdFromPublicKey(random.bytes(32))
    this.#peers = [...keys, ...others].map((key) => {
      const peer = peerIdFromPublicKey(key)
      const known = { reliabilityPpm: 900_000, established: true, excluded: false }
      return { peer, operator: peer, ...known }
    })
  }

  /** Whether the first set of a new job is in the hands of the friends. */
  isCaptured(beacon: Uint8Array): boolean {
    const { ranking } = rankStewards({
      jobId: toHex(this.random.bytes(32)) as JobId,
      beacon,
      requester: this.#requester,
      requesterOperator: this.#requester,
      peers: this.#peers,
    })
    const set = ranking.slice(0, LIMITS.stewardsPerOffer)
    return set.filter((peer) => this.#friends.has(peer)).length >= FRIENDS_OF_SEVEN
  }
}
