/**
 * Writes the JSON vectors of the law to test/vectors, by which another language can check that it
 * computes the same: `node --import tsx scripts/vectors.ts`. Bytes are hexadecimal, 64-bit and
 * larger integers decimal text. What the RFC gives is compared, not computed.
 */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { CtdError } from '../src/errors.js'
import {
  choosePlaces,
  elect,
  hiddenReplicaDrawn,
  secondSeed,
  type Candidate,
  type ElectionInput,
} from '../src/protocol/election.js'
import { decayPpm, logitMicro, negLog2Fixed } from '../src/protocol/integer.js'
import { rank } from '../src/protocol/lottery.js'
import { foldReputation } from '../src/protocol/reputation-fold.js'
import type {
  ReceiptExecutor,
  ReceiptOutcome,
  ReputationReceipt,
} from '../src/protocol/reputation.js'
import { judge, type ExecutorOutcome, type VerdictInput } from '../src/protocol/verdict.js'
import { deriveVrfSecret, vrfProve, vrfPublicKey, vrfVerify } from '../src/protocol/vrf.js'
import {
  digestOf,
  fromHex,
  peerIdFromPublicKey,
  sha256,
  toHex,
  utf8,
  type PeerId,
} from '../src/wire/ids.js'

const FOLDER = new URL('../test/vectors/', import.meta.url)
const DAY_MS = 86_400_000
const START_MS = 1_800_000_000_000

/** RFC 9381 appendix B.3, examples 16 to 18. */
const RFC_9381 = [
  {
    name: 'RFC 9381 example 16',
    secret: '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
    publicKey: 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    alpha: '',
    proof:
      '8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f' +
      '26f8a57ccaed74ee1b190bed1f479d9727d2d0f9b005a6e456a35d4fb0daab12' +
      '68a1b0db10836d9826a528ca76567805',
    output:
      '90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff' +
      '66b71dda49d2de59d03450451af026798e8f81cd2e333de5cdf4f3e140fdd8ae',
  },
  {
    name: 'RFC 9381 example 17',
    secret: '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
    publicKey: '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    alpha: '72',
    proof:
      'f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed593' +
      '3bf0864a62558b3ed7f2fea45c92a465301b3bbf5e3e54ddf2d935be3b67926d' +
      'a3ef39226bbc355bdc9850112c8f4b02',
    output:
      'eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb' +
      '5e33821bc613efb94db5e5b54c70a848a0bef4553a41befc57663b56373a5031',
  },
  {
    name: 'RFC 9381 example 18',
    secret: 'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
    publicKey: 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    alpha: 'af82',
    proof:
      '9bc0f79119cc5604bf02d23b4caede71393cedfbb191434dd016d30177ccbf80' +
      '96bb474e53895c362d8628ee9f9ea3c0e52c7a5c691b6c18c9979866568add7a' +
      '2d41b00b05081ed0f58ee5e31b3a970e',
    output:
      '645427e5d00c62a23fb703732fa5d892940935942101e456ecca7bb217c61c45' +
      '2118fec1219202a0edcf038bb6373241578be7217ba85a2687f7a0310b2df19f',
  },
]

await write('vrf.json', vrfVectors())
await write('lottery.json', lotteryVectors())
await write('election.json', electionVectors())
await write('verdict.json', verdictVectors())
await write('reputation.json', reputationVectors())

async function write(name: string, content: unknown): Promise<void> {
  const text = JSON.stringify(
    content,
    (_, value: unknown) => {
      if (typeof value === 'bigint') return String(value)
      return value instanceof Uint8Array ? toHex(value) : value
    },
    1,
  )
  await writeFile(new URL(name, FOLDER), `${text}\n`)
  process.stdout.write(`${name} ${text.length} bytes\n`)
}

function vrfVectors() {
  for (const { secret, publicKey, alpha, proof, output } of RFC_9381) {
    assert.equal(toHex(vrfPublicKey(fromHex(secret))), publicKey)
    assert.equal(toHex(vrfProve(fromHex(secret), fromHex(alpha))), proof)
    const verified = vrfVerify(fromHex(publicKey), fromHex(alpha), fromHex(proof))
    assert.equal(verified && toHex(verified), output)
  }
  const [, good] = RFC_9381
  assert.ok(good !== undefined)
  const { publicKey, alpha, proof } = good
  const base = { publicKey, alpha, proof }
  const order = 'edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010'
  const neutral = '01'.padEnd(64, '0')
  const invalid = [
    { ...base, name: 'another input', alpha: '73' },
    { ...base, name: 'the key of another example', publicKey: RFC_9381[0]?.publicKey },
    { ...base, name: 'a proof of 79 bytes', proof: proof.slice(0, -2) },
    { ...base, name: 'a proof of 81 bytes', proof: `${proof}00` },
    { ...base, name: 'an empty proof', proof: '' },
    { ...base, name: 'a changed challenge', proof: `${proof.slice(0, 64)}00${proof.slice(66)}` },
    { ...base, name: 'a response equal to the group order', proof: proof.slice(0, 96) + order },
    { ...base, name: 'a Gamma that is no point', proof: '02'.padEnd(64, '0') + proof.slice(64) },
    { ...base, name: 'a key of small order', publicKey: neutral },
    { ...base, name: 'a key of 31 bytes', publicKey: publicKey.slice(2) },
  ]
  const seed = sha256(utf8('an identity'))
  const derived = deriveVrfSecret(seed)
  return {
    about: 'ECVRF-EDWARDS25519-SHA512-TAI; invalid proofs give no output',
    valid: RFC_9381,
    invalid,
    derived: [{ identitySeed: seed, secret: derived, publicKey: vrfPublicKey(derived) }],
  }
}

function peer(name: string): PeerId {
  return peerIdFromPublicKey(sha256(utf8(name)))
}

/** 64 bytes that stand for a verified output. */
function outputOf(name: string): Uint8Array {
  return Uint8Array.of(...sha256(utf8(`${name} 1`)), ...sha256(utf8(`${name} 2`)))
}

function lotteryVectors() {
  const draws = [1, 2, 3].map((n) => {
    const seed = sha256(utf8(`seed ${n}`))
    const entries = ['a', 'b', 'c', 'd', 'e', 'f'].map((name, i) => ({
      peer: peer(name),
      output: outputOf(`${name} ${n}`),
      weightPpm: BigInt(i * 150_000),
    }))
    return { seed, entries, ranking: rank(seed, entries) }
  })
  const [first] = draws
  const [entry] = first?.entries.slice(1) ?? []
  assert.ok(first !== undefined && entry !== undefined)
  const { seed } = first
  const fractions = [0n, 1n, 3n, 1n << 255n, (1n << 256n) - 1n, 0x123456789abcdefn << 190n]
  return {
    about: 'u = H("ctd/lottery/v1" ‖ seed ‖ output ‖ peer); key = −log2(u) · 2^32 / weight',
    valid: draws,
    invalid: [
      { name: 'an output of 63 bytes', seed, entries: [{ ...entry, output: new Uint8Array(63) }] },
      { name: 'a peer that stands twice', seed, entries: [entry, entry] },
    ],
    negLog2: fractions.map((u) => ({ u, value: negLog2Fixed(u) })),
    logitMicro: [1, 100_000, 500_000, 742_857, 933_333, 999_999].map((pPpm) => ({
      pPpm,
      value: logitMicro(pPpm),
    })),
    decayPpm: [0, 1, 12_345, 100_000, 1_234_567].map((age) => ({
      age,
      halfLife: 100_000,
      value: decayPpm(age, 100_000),
    })),
  }
}

function candidate(name: string, changes: Partial<Candidate> = {}): Candidate {
  return {
    peer: peer(name),
    operator: peer(name),
    addressPrefix: '',
    vrfKey: sha256(utf8(`key of ${name}`)),
    capacity: 8,
    availabilityPpm: 900_000n,
    reliabilityPpm: 930_000n,
    speedPpm: 1_000_000n,
    established: true,
    excluded: false,
    meetsRequirement: true,
    ...changes,
  }
}

function ballot(candidates: Candidate[], changes: Partial<ElectionInput> = {}): ElectionInput {
  return {
    offerHash: sha256(utf8('offer')),
    attempt: 0,
    frozenBidsHash: sha256(utf8('frozen bids')),
    slots: 4,
    replicas: 2,
    requester: peer('requester'),
    candidates,
    openings: candidates.map((each) => ({ peer: each.peer, output: outputOf(each.peer) })),
    diversity: 'operator',
    ...changes,
  }
}

function electionVectors() {
  const six = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => candidate(name))
  const house = ['h', 'i'].map((name) => candidate(name, { operator: 'one house' }))
  const newcomers = ['n', 'o', 'p'].map((name) =>
    candidate(name, { established: false, reliabilityPpm: 100_000n, availabilityPpm: 500_000n }),
  )
  const near = ['x', 'y'].map((name) => candidate(name, { addressPrefix: '192.0.2.0/24' }))
  const giant = candidate('g', { availabilityPpm: 1_000_000n, speedPpm: 2_000_000n })
  const slow = ['a', 'b', 'c'].map((name) => candidate(name, { availabilityPpm: 90_000n }))
  const valid: { name: string; input: ElectionInput }[] = [
    { name: 'six mature peers', input: ballot(six) },
    { name: 'the second attempt of the same', input: ballot(six, { attempt: 1 }) },
    { name: 'one operator with two peers', input: ballot([...six, ...house]) },
    { name: 'a young network', input: ballot([...six.slice(3), ...newcomers]) },
    { name: 'probationers in a mature network', input: ballot([...six, ...newcomers]) },
    {
      name: 'diversity of addresses',
      input: ballot([...six, ...near], { diversity: 'operator-and-address', replicas: 3 }),
    },
    { name: 'a capped weight', input: ballot([giant, ...slow]) },
    {
      name: 'seats for two of four slots',
      input: ballot(six.slice(0, 2).map((each) => ({ ...each, capacity: 2 }))),
    },
    {
      name: 'the requester bids and one bidder does not open',
      input: ballot([candidate('requester'), ...six], {
        openings: six.slice(1).map((each) => ({ peer: each.peer, output: outputOf(each.peer) })),
      }),
    },
  ]
  const invalid: { name: string; input: ElectionInput }[] = [
    { name: 'one peer for two replicas', input: ballot(six.slice(0, 1)) },
    { name: 'one operator for two replicas', input: ballot(house) },
    { name: 'nobody has a seat', input: ballot(six.map((each) => ({ ...each, capacity: 0 }))) },
    { name: 'all excluded', input: ballot(six.map((each) => ({ ...each, excluded: true }))) },
    { name: 'a task with one replica', input: ballot(six, { replicas: 1 }) },
    { name: 'a peer that bids twice', input: ballot([...six, ...six.slice(0, 1)]) },
    { name: 'no slot', input: ballot(six, { slots: 0 }) },
  ]
  const seed2 = secondSeed(sha256(utf8('commitments')), [outputOf('s1'), outputOf('s2')])
  return {
    about: 'elections follow from their input; invalid ones give the code',
    valid: valid.map(({ name, input }) => {
      const { seed, weights, slots, unseated, young } = elect(input)
      const expected = { seed, weights: Object.fromEntries(weights), slots, unseated, young }
      return { name, input, expected }
    }),
    invalid: invalid.map(({ name, input }) => ({ name, input, code: codeOf(() => elect(input)) })),
    secondSeed: {
      frozenCommitmentsHash: sha256(utf8('commitments')),
      stewardOutputs: [outputOf('s1'), outputOf('s2')],
      value: seed2,
      drawnAtHalf: [0, 1, 2, 3, 4, 5, 6, 7].map((slot) => hiddenReplicaDrawn(seed2, slot, 500_000)),
    },
    places: placesVectors(),
  }
}

/** Ninety bidders for 64 places: established, newcomers and a few that are excluded. */
function placesVectors() {
  const offerHash = sha256(utf8('a crowded offer'))
  return [10, 40, 70].map((established) => {
    const applicants = Array.from({ length: 90 }, (_, i) => ({
      peer: peer(`applicant ${i}`),
      established: i < established,
      excluded: i % 20 === 7,
    }))
    return { offerHash, applicants, placed: choosePlaces(applicants, offerHash) }
  })
}

function codeOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    if (error instanceof CtdError) return error.code
    throw error
  }
  throw new Error('an invalid vector passed')
}

/** Executors for a pattern: equal letters agree, capitals are established, `-` is silent. */
function executors(letters: string): ExecutorOutcome[] {
  return [...letters].map((letter, i) => {
    const established = letter === letter.toUpperCase() && letter !== '-'
    return {
      peer: peer(`executor ${i}`),
      operator: `operator ${i}`,
      established,
      reliabilityPpm: established ? 930_000 : 100_000,
      root: letter === '-' ? undefined : digestOf(utf8(letter.toLowerCase())),
    }
  })
}

function verdictVectors() {
  const input = (letters: string, young: boolean): VerdictInput => ({
    outcomes: executors(letters),
    policy: { kind: 'exact' },
    young,
    executed: letters.length,
    maxReplicas: 7,
  })
  const mature = ['AA', 'Aa', 'AAa', 'AB', 'BBA', 'AAAB', 'AAAb', 'aaa', 'AA-', 'A-', 'AAbbb']
  const last = ['ABCDEFG', 'AAABBCC', 'aaaaaaa']
  const young = ['aa', 'aab', 'aaab', 'aaaabb', 'aaaabc', 'aaaabbb', 'abcdefg']
  // Disputes of a mature network, with how many of the executors, from the left, were foreseen.
  const disputes: ReadonlyArray<readonly [letters: string, foreseen: number]> = [
    ['AAB', 2],
    ['AABB', 2],
    ['AABBB', 2],
    ['AAABBBB', 3],
    ['AAABBB', 3],
    ['AABA', 3],
    ['AABAA', 3],
    ['AAAAB', 4],
    ['AAAAB', 5],
    ['AA', 2],
  ]
  const pair = input('AA', false)
  const twice = { ...pair, outcomes: [...pair.outcomes, ...pair.outcomes] }
  const invalid: { name: string; input: VerdictInput }[] = [
    { name: 'an executor that stands there twice', input: twice },
  ]
  return {
    about:
      'capital letters are established executors, equal letters agree, - is silent; ' +
      'a number after them says how many from the left were foreseen',
    valid: [
      ...[...mature, ...last].map((letters) => ({ letters, young: false })),
      ...young.map((letters) => ({ letters, young: true })),
    ]
      .map(({ letters, young: isYoung }) => {
        const each = input(letters, isYoung)
        return {
          name: `${isYoung ? 'young' : 'mature'} ${letters}`,
          input: each,
          verdict: judge(each),
        }
      })
      .concat(
        disputes.map(([letters, foreseen]) => {
          const each = input(letters, false)
          const outcomes = each.outcomes.map((one, i) => ({ ...one, foreseen: i < foreseen }))
          const disputed = { ...each, outcomes }
          return {
            name: `mature ${letters} ${foreseen}`,
            input: disputed,
            verdict: judge(disputed),
          }
        }),
      ),
    invalid: invalid.map((each) => ({ ...each, code: codeOf(() => judge(each.input)) })),
  }
}

function receipt(
  n: number,
  outcomes: readonly ReceiptOutcome[],
  changes: Partial<ReputationReceipt> = {},
): ReputationReceipt {
  return {
    receiptId: digestOf(utf8(`receipt ${n}`)),
    taskId: digestOf(utf8(`task ${n}`)),
    requester: peer(`requester ${n % 3}`),
    atMs: START_MS + n * (DAY_MS / 4),
    young: false,
    stewards: 3,
    executors: outcomes.map((outcome, i): ReceiptExecutor => {
      const place = i === 0 ? 0 : 1 + ((n + i) % 5)
      const common = { peer: peer(`executor ${place}`), operator: `operator ${place}`, outcome }
      const durationMs = 1000 + 137 * ((n * 7 + i * 3) % 11)
      return outcome === 'dissented'
        ? { ...common, wrongRoot: digestOf(utf8('wrong')), durationMs }
        : { ...common, durationMs }
    }),
    ...changes,
  }
}

function reputationVectors() {
  const agreed = Array.from({ length: 24 }, (_, n) => receipt(n, ['agreed', 'agreed']))
  const lie = (n: number, changes: Partial<ReputationReceipt> = {}) =>
    receipt(n, ['dissented', 'agreed', 'agreed'], changes)
  const valid = [
    { name: 'no receipts', receipts: [], days: 0 },
    { name: 'two dozen accepted replicas', receipts: agreed, days: 7 },
    { name: 'the same after two months', receipts: agreed, days: 60 },
    { name: 'then a wrong result', receipts: [...agreed, lie(30)], days: 8 },
    { name: 'two wrong results of a newcomer', receipts: [lie(1), lie(2)], days: 1 },
    { name: 'and its return', receipts: [lie(1), lie(2)], days: 9 },
    {
      name: 'wrong results of a young network',
      receipts: [1, 2, 3].map((n) => lie(n, { young: true })),
      days: 2,
    },
    {
      name: 'colluders',
      receipts: [receipt(1, ['dissented', 'dissented', 'agreed', 'agreed', 'agreed'])],
      days: 2,
    },
    {
      name: 'silence of several kinds',
      receipts: [
        receipt(1, ['withheld', 'agreed', 'agreed']),
        receipt(2, ['timed-out', 'agreed', 'agreed']),
        receipt(3, ['timed-out', 'agreed', 'agreed'], { stewards: 1 }),
        receipt(4, ['failed', 'agreed', 'agreed']),
        receipt(5, ['spared', 'agreed', 'agreed']),
      ],
      days: 2,
    },
  ]
  const weightless = [
    { name: 'closed after the epoch', receipts: [receipt(40, ['agreed', 'agreed'])], days: 1 },
    { name: 'older than 120 days', receipts: [receipt(0, ['agreed', 'agreed'])], days: 120 },
    {
      name: 'a timeout that one steward reports',
      receipts: [receipt(1, ['timed-out'], { stewards: 1 })],
      days: 1,
    },
  ]
  const nowMs = (days: number) => START_MS + days * DAY_MS
  return {
    about: 'scores at nowMs; the weightless receipts leave everybody a newcomer',
    valid: valid.map(({ name, receipts, days }) => ({
      name,
      nowMs: nowMs(days),
      receipts,
      scores: Object.fromEntries(foldReputation(receipts, nowMs(days))),
    })),
    invalid: weightless.map(({ name, receipts, days }) => ({ name, nowMs: nowMs(days), receipts })),
  }
}
